// UDP to programs of this host from an address and port that is not our own (raw(7), IP_HDRINCL; ipv6(7), IPV6_HDRINCL): a virtual IP, another
// host's, or one that the called app itself holds, where no UDP socket of ours could be bound. Needs CAP_NET_RAW. What leaves
// here never leaves the host: its destination is where a local program sent from.
import type { Answerer } from "../base/datagrams.ts";
import type { OriginalDestination } from "../base/net.ts";
import { writeSockaddr } from "./address.ts";
import { AF_INET, AF_INET6, SOCK_FLAGS, SOCK_RAW, SOL_IPV6 } from "./libc.ts";
import { type Loop, SCRATCH_AT, SCRATCH_BYTES } from "./loop.ts";
import { setOption } from "./socket.ts";
import { setSendRoom } from "./udp-socket.ts";

const IPPROTO_RAW = 255;
const IPPROTO_UDP = 17;
const IPV6_HDRINCL = 36;
const IPV4_BYTES = 20;
const IPV6_BYTES = 40;
const UDP_BYTES = 8;
const TTL = 64;
/** Room for one packet, at the end of the scratch, and for its destination's sockaddr. */
const PACKET_AT = SCRATCH_AT + SCRATCH_BYTES - 65_536;
const TO_AT = PACKET_AT - 64;

export class RawAnswers {
  readonly #loop: Loop;
  #ipv4: number | undefined;
  #ipv6: number | undefined;

  constructor(loop: Loop) {
    this.#loop = loop;
  }

  answerer(from: OriginalDestination, to: OriginalDestination): Answerer {
    const isIpv6 = to.address.includes(":");
    const fd = isIpv6 ? this.#forIpv6() : this.#forIpv4();
    return new RawAnswerer(this.#loop, fd, from, to);
  }

  #forIpv4(): number {
    this.#ipv4 ??= this.#open(AF_INET);
    return this.#ipv4;
  }
  #forIpv6(): number {
    this.#ipv6 ??= this.#open(AF_INET6);
    return this.#ipv6;
  }

  #open(family: number): number {
    const fd = this.#loop.libc.socket(family, SOCK_RAW | SOCK_FLAGS, IPPROTO_RAW);
    if (fd < 0) return fd; // each send() then fails, and is counted
    if (family === AF_INET6) setOption(this.#loop, fd, SOL_IPV6, IPV6_HDRINCL, 1);
    setSendRoom(this.#loop, fd);
    this.#loop.hold(fd); // so that it is found if this thread dies
    return fd;
  }
}

class RawAnswerer implements Answerer {
  readonly #loop: Loop;
  readonly #fd: number;
  /** Destination sockaddr, then the packet's heads, lengths and checksum left open. */
  readonly #to: Uint8Array;
  readonly #head: Uint8Array;
  readonly #isIpv6: boolean;
  readonly #halves: Uint16Array;

  constructor(loop: Loop, fd: number, from: OriginalDestination, to: OriginalDestination) {
    const { bytes, buffer } = loop.arena;
    this.#loop = loop;
    this.#fd = fd;
    this.#isIpv6 = to.address.includes(":");
    this.#halves = new Uint16Array(buffer);
    const length = writeSockaddr(bytes, TO_AT, to.address, 0);
    this.#to = bytes.slice(TO_AT, TO_AT + length);
    const [at, count] = this.#isIpv6 ? [8, 16] : [4, 4];
    const target = this.#to.slice(at, at + count);
    writeSockaddr(bytes, TO_AT, from.address, 0);
    const source = bytes.slice(TO_AT + at, TO_AT + at + count);
    const ports = Uint8Array.of(from.port >> 8, from.port & 255, to.port >> 8, to.port & 255);
    this.#head = this.#isIpv6 ? ipv6Head(source, target, ports) : ipv4Head(source, target, ports);
  }

  send(bytes: Uint8Array, start: number, end: number): boolean {
    const { libc, arena } = this.#loop;
    const head = this.#head.length;
    const datagramBytes = UDP_BYTES + end - start;
    const packetBytes = head + end - start;
    if (packetBytes > 65_535 || this.#fd < 0) return false;
    const to = arena.bytes;
    to.set(this.#head, PACKET_AT);
    if (bytes === to) to.copyWithin(PACKET_AT + head, start, end);
    else to.set(bytes.subarray(start, end), PACKET_AT + head);
    writeU16(to, PACKET_AT + head - 4, datagramBytes);
    if (this.#isIpv6) {
      writeU16(to, PACKET_AT + 4, datagramBytes);
      this.#writeChecksum(datagramBytes);
    }
    to.set(this.#to, TO_AT);
    const at = (offset: number): number => this.#loop.at(offset);
    return libc.sendto(this.#fd, at(PACKET_AT), packetBytes, 0, at(TO_AT), this.#to.length) >= 0;
  }

  /** RFC 8200 8.1: over addresses, length, protocol and the datagram. The sum is the same in either byte order, swapped. IPv4 asks for none
   *  (RFC 768), and nothing is corrupted within a host. */
  #writeChecksum(datagramBytes: number): void {
    const { bytes } = this.#loop.arena;
    const first = PACKET_AT + IPV6_BYTES;
    bytes[first + datagramBytes] = 0; // pads an odd length
    let sum = swapped(datagramBytes) + swapped(IPPROTO_UDP);
    sum += sumOf(this.#halves, PACKET_AT + 8, 32);
    sum += sumOf(this.#halves, first, datagramBytes + (datagramBytes & 1));
    while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x1_0000);
    this.#halves[(first + 6) >> 1] = ~sum & 0xffff || 0xffff;
  }
}

const swapped = (half: number): number => ((half & 255) << 8) | (half >> 8);

function sumOf(halves: Uint16Array, at: number, bytes: number): number {
  let sum = 0;
  for (let i = at >> 1; i < (at + bytes) >> 1; i++) sum += halves[i] as number;
  return sum;
}

function writeU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value & 255;
}

/** RFC 791; the kernel fills in length and checksum. */
function ipv4Head(source: Uint8Array, target: Uint8Array, ports: Uint8Array): Uint8Array {
  const head = new Uint8Array(IPV4_BYTES + UDP_BYTES);
  head[0] = 0x45;
  head[8] = TTL;
  head[9] = IPPROTO_UDP;
  head.set(source, 12);
  head.set(target, 16);
  head.set(ports, IPV4_BYTES);
  return head;
}

/** RFC 8200 3. */
function ipv6Head(source: Uint8Array, target: Uint8Array, ports: Uint8Array): Uint8Array {
  const head = new Uint8Array(IPV6_BYTES + UDP_BYTES);
  head[0] = 0x60;
  head[6] = IPPROTO_UDP;
  head[7] = TTL;
  head.set(source, 8);
  head.set(target, 24);
  head.set(ports, IPV6_BYTES);
  return head;
}
