// Whether the kernel would deliver to an address on this very host, asked of its own routing tables (rtnetlink(7), RTM_GETROUTE): second
// addresses of lo, ranges that somebody made local by hand and addresses that came a moment ago are all known to it.
import { writeSockaddr } from "./address.ts";
import { AF_INET, AF_INET6, SOCK_FLAGS, SOCK_RAW } from "./libc.ts";
import { ARGUMENTS_AT, type Loop } from "./loop.ts";

const AF_NETLINK = 16;
const NETLINK_ROUTE = 0;
const RTM_NEWROUTE = 24;
const RTM_GETROUTE = 26;
const NLM_F_REQUEST = 1;
const RTA_DST = 1;
const RTN_LOCAL = 2;
/** struct nlmsghdr, and struct rtmsg behind it. */
const HEADER_BYTES = 16;
const MESSAGE_BYTES = 28;
/** Where rtm_type stands in an answer. */
const TYPE_AT = HEADER_BYTES + 7;

const REQUEST_AT = ARGUMENTS_AT + 1_024;
const SOCKADDR_AT = ARGUMENTS_AT + 1_152;
const ANSWER_AT = ARGUMENTS_AT + 2_048;
const ANSWER_BYTES = 1_024;

/** False also where the kernel knows no way at all. Costs four system calls. */
export function isLocalAddress(loop: Loop, address: string): boolean {
  const length = writeRequest(loop, address);
  if (length === 0) return false;
  const { libc, arena } = loop;
  const fd = libc.socket(AF_NETLINK, SOCK_RAW | SOCK_FLAGS, NETLINK_ROUTE);
  if (fd < 0)
    throw new Error(
      "the kernel gives no netlink socket: do the agent's limits or its unit forbid AF_NETLINK?",
    );
  libc.send(fd, loop.at(REQUEST_AT), length, 0);
  const count = libc.recv(fd, loop.at(ANSWER_AT), ANSWER_BYTES, 0); // it answers within send()
  libc.close(fd);
  if (count < MESSAGE_BYTES) return false;
  const type = arena.words[(ANSWER_AT >> 2) + 1] as number;
  return (type & 0xffff) === RTM_NEWROUTE && arena.bytes[ANSWER_AT + TYPE_AT] === RTN_LOCAL;
}

/** Its length; 0: the text is no address. */
function writeRequest(loop: Loop, address: string): number {
  const { bytes, words } = loop.arena;
  const sockaddrBytes = writeSockaddr(bytes, SOCKADDR_AT, address, 0);
  if (sockaddrBytes === 0) return 0;
  const isIpv6 = address.includes(":");
  const [from, size] = isIpv6 ? [SOCKADDR_AT + 8, 16] : [SOCKADDR_AT + 4, 4];
  const length = MESSAGE_BYTES + 4 + size;
  const word = REQUEST_AT >> 2;
  words.fill(0, word, word + MESSAGE_BYTES / 4);
  words[word] = length;
  words[word + 1] = RTM_GETROUTE | (NLM_F_REQUEST << 16);
  bytes[REQUEST_AT + HEADER_BYTES] = isIpv6 ? AF_INET6 : AF_INET;
  bytes[REQUEST_AT + HEADER_BYTES + 1] = size * 8;
  words[word + MESSAGE_BYTES / 4] = (4 + size) | (RTA_DST << 16);
  bytes.copyWithin(REQUEST_AT + MESSAGE_BYTES + 4, from, from + size);
  return length;
}
