// Pages of the executable and its libraries in this process's memory. They are clean: what is dropped comes back from the page cache
// when it is touched. By itself the kernel then maps what lies around as well, 64 KiB for each page touched, and a program of 120 MB
// that runs a little of its code everywhere holds 30 MB of it. Ranges of a userfaultfd are the exception: there a fault maps its page
// alone (mm/memory.c, should_fault_around), 8 MB in all. Of such a descriptor we ask nothing else: no event ever comes, since nothing is
// write-protected, and writes would be let through by the kernel itself (UFFD_FEATURE_WP_ASYNC, Linux 6.7, which alone takes file
// mappings). Where the kernel is older or says no, pages come back 64 KiB at a time, and nothing else differs.
import { closeSync, openSync, readFileSync, readlinkSync, readSync } from "node:fs";
import { type Arena, type Call, mapArena, openLibrary } from "./ffi.ts";

const MADV_DONTNEED = 4;
const PAGE_BYTES = 4096;
const SYS_USERFAULTFD = process.arch === "x64" ? 323 : 282;
/** O_CLOEXEC, O_NONBLOCK, UFFD_USER_MODE_ONLY: the kernel's own faults are not ours to see, and so no privilege is needed. */
const UFFD_FLAGS = 0x8_0000 | 0x800 | 1;
const UFFDIO_API = 0xc018_aa3f;
const UFFDIO_REGISTER = 0xc020_aa00;
const UFFD_API = 0xaa;
/** PAGEFAULT_FLAG_WP, WP_UNPOPULATED, WP_ASYNC */
const UFFD_FEATURES = 1 | (1 << 13) | (1 << 15);
const UFFDIO_REGISTER_MODE_WP = 2;
/** Bits 61 to 63 of an entry of /proc/PID/pagemap, in its upper word. */
const PM_OF_FILE = 1 << 29;
const PM_SWAPPED = 1 << 30;
const PM_PRESENT = 1 << 31;
/** Where the runtime keeps our own code and its bytecode: in a segment of data, but nobody writes to it. */
const OWN_CODE = ".bun";

/** As it was started, whatever lies in its place by now. */
const EXECUTABLE = "/proc/self/exe";

const MAPPING = /^([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) \S+ \S+\s*(.*)$/;

interface Range {
  readonly at: number;
  readonly bytes: number;
}
interface Mapping extends Range {
  readonly permissions: string;
  /** Of its first byte in the file. */
  readonly offset: number;
  readonly file: string;
  residentKib: number;
  anonymousKib: number;
}

export class FilePages {
  readonly #libc = openLibrary("libc.so.6", {
    madvise: "i32 word word i32",
    syscall: "word word word",
    ioctl: "i32 i32 word at",
  });
  readonly #arena: Arena = mapArena(PAGE_BYTES);
  /** Open as long as the process lives; undefined: this kernel has none that could. */
  readonly #faults = openFaults(this.#libc, this.#arena);

  /** Whether a fault maps one page. */
  get mapsOnlyTouched(): boolean {
    return this.#faults !== undefined;
  }

  /** Drops what is clean; returns how many KiB were resident there. From now on only what is touched comes back. */
  drop(): number {
    let dropped = 0;
    for (const { at, bytes, residentKib } of this.#clean()) {
      this.#watch({ at, bytes });
      if (this.#libc.madvise(at, bytes, MADV_DONTNEED) === 0) dropped += residentKib;
    }
    return dropped;
  }

  /** Private mappings of files that are as in the file. */
  #clean(): readonly (Range & { readonly residentKib: number })[] {
    const mappings = readMappings();
    const text = mappings.filter(
      ({ permissions, anonymousKib }) =>
        permissions[1] === "-" && permissions[3] === "p" && anonymousKib === 0,
    );
    const own = ownCode(mappings);
    return own === undefined ? text : [...text, own];
  }

  #watch({ at, bytes }: Range): void {
    if (this.#faults === undefined) return;
    const { words } = this.#arena;
    words.fill(0, 0, 8);
    setWord(words, 0, at);
    setWord(words, 2, bytes);
    setWord(words, 4, UFFDIO_REGISTER_MODE_WP);
    // Refused: it faults as before.
    this.#libc.ioctl(this.#faults, UFFDIO_REGISTER, this.#arena.base);
  }
}

/** Of this process, by the kernel's own count, which is kept anyway. */
export function filePagesKib(): number {
  const [, , shared = "0"] = readFileSync("/proc/self/statm", "latin1").split(" ");
  return (Number(shared) * PAGE_BYTES) / 1024;
}

function openFaults(
  { syscall, ioctl }: { readonly syscall: Call; readonly ioctl: Call },
  { base, words }: Arena,
): number | undefined {
  const fd = Number(syscall(SYS_USERFAULTFD, UFFD_FLAGS));
  if (fd < 0) return undefined;
  words.fill(0, 0, 6);
  setWord(words, 0, UFFD_API);
  setWord(words, 2, UFFD_FEATURES);
  if (ioctl(fd, UFFDIO_API, base) === 0) return fd;
  closeSync(fd);
  return undefined;
}

function setWord(words: Int32Array, at: number, value: number): void {
  words[at] = value | 0;
  words[at + 1] = Math.floor(value / 2 ** 32);
}

function readMappings(): readonly Mapping[] {
  const mappings: Mapping[] = [];
  let last: Mapping | undefined;
  for (const line of readFileSync("/proc/self/smaps", "latin1").split("\n")) {
    const found = MAPPING.exec(line);
    if (found !== null) {
      const [, from = "", to = "", permissions = "", offset = "", file = ""] = found;
      const at = Number.parseInt(from, 16);
      last = {
        at,
        bytes: Number.parseInt(to, 16) - at,
        permissions,
        offset: Number.parseInt(offset, 16),
        file,
        residentKib: 0,
        anonymousKib: 0,
      };
      if (file.startsWith("/")) mappings.push(last);
    } else if (last !== undefined) {
      if (line.startsWith("Rss:")) last.residentKib = Number.parseInt(line.slice(4), 10);
      if (line.startsWith("Anonymous:")) last.anonymousKib = Number.parseInt(line.slice(10), 10);
    }
  }
  return mappings;
}

/** Our code's pages, while nobody has written to any of them. */
function ownCode(mappings: readonly Mapping[]): (Range & { residentKib: number }) | undefined {
  const section = sectionOf(EXECUTABLE, OWN_CODE);
  if (section === undefined) return undefined;
  const file = readlinkSync(EXECUTABLE);
  const from = Math.ceil(section.offset / PAGE_BYTES) * PAGE_BYTES;
  const to = Math.floor((section.offset + section.bytes) / PAGE_BYTES) * PAGE_BYTES;
  const holder = mappings.find(
    (one) => one.file === file && one.offset <= from && to <= one.offset + one.bytes,
  );
  if (holder === undefined || to <= from) return undefined;
  const range = { at: holder.at + from - holder.offset, bytes: to - from };
  const residentKib = cleanKib(range);
  return residentKib === undefined ? undefined : { ...range, residentKib };
}

/** How much is there; undefined: some of it is not as in the file. */
function cleanKib({ at, bytes }: Range): number | undefined {
  const pages = bytes / PAGE_BYTES;
  const entries = readPart("/proc/self/pagemap", (at / PAGE_BYTES) * 8, pages * 8);
  if (entries === undefined) return undefined;
  let present = 0;
  for (let page = 0; page < pages; page++) {
    const flags = entries.getUint32(page * 8 + 4, true);
    if ((flags & PM_SWAPPED) !== 0) return undefined;
    if ((flags & PM_PRESENT) === 0) continue;
    if ((flags & PM_OF_FILE) === 0) return undefined;
    present++;
  }
  return (present * PAGE_BYTES) / 1024;
}

/** Where a section of an ELF64 file (little endian) lies in it. */
function sectionOf(
  file: string,
  wanted: string,
): { readonly offset: number; readonly bytes: number } | undefined {
  const header = readPart(file, 0, 64);
  if (header === undefined) return undefined;
  const count = header.getUint16(60, true);
  const table = readPart(file, Number(header.getBigUint64(40, true)), count * 64);
  if (table === undefined) return undefined;
  const placeOf = (index: number): { offset: number; bytes: number } => ({
    offset: Number(table.getBigUint64(index * 64 + 24, true)),
    bytes: Number(table.getBigUint64(index * 64 + 32, true)),
  });
  const names = placeOf(header.getUint16(62, true));
  const text = new TextDecoder("latin1").decode(readPart(file, names.offset, names.bytes));
  for (let index = 0; index < count; index++) {
    const at = table.getUint32(index * 64, true);
    if (text.startsWith(`${wanted}\0`, at)) return placeOf(index);
  }
  return undefined;
}

/** Undefined: that much is not there. */
function readPart(path: string, offset: number, bytes: number): DataView | undefined {
  const fd = openSync(path, "r");
  try {
    const part = new DataView(new ArrayBuffer(bytes));
    return readSync(fd, part, 0, bytes, offset) === bytes ? part : undefined;
  } finally {
    closeSync(fd);
  }
}
