// The one door to libc, for Bun and Deno alike: signatures as text, and memory below 4 GB, so that an address is a u32
// (Deno passes a 64-bit "usize" 130 ns slower). A signature is the result, then the arguments: "i32 i32 at i32".

/** `at` is an address in an arena; `word` is 64 bits (a bigint comes back from Deno). */
export type Kind = "i32" | "u32" | "at" | "word";
export type Call = (...args: number[]) => number;

interface Native {
  open(library: string, symbols: Record<string, Kind[]>): Record<string, Call>;
  view(address: number, bytes: number): ArrayBuffer;
}

async function bunNative(): Promise<Native> {
  const { dlopen, toArrayBuffer } = await import("bun:ffi");
  const kinds = { i32: "i32", u32: "u32", at: "u32", word: "i64_fast" } as const;
  return {
    open: (library, symbols) =>
      dlopen(
        library,
        Object.fromEntries(
          Object.entries(symbols).map(([name, [returns = "i32", ...args]]) => [
            name,
            { returns: kinds[returns], args: args.map((kind) => kinds[kind]) },
          ]),
        ) as never,
      ).symbols as unknown as Record<string, Call>,
    view: (address, bytes) => toArrayBuffer(address as never, 0, bytes),
  };
}

interface DenoFfi {
  dlopen(name: string, symbols: object): { symbols: Record<string, Call> };
  readonly UnsafePointer: { create(address: bigint): unknown };
  readonly UnsafePointerView: { getArrayBuffer(pointer: unknown, bytes: number): ArrayBuffer };
}

function denoNative(deno: DenoFfi): Native {
  const kinds = { i32: "i32", u32: "u32", at: "u32", word: "i64" } as const;
  return {
    open: (library, symbols) =>
      deno.dlopen(
        library,
        Object.fromEntries(
          Object.entries(symbols).map(([name, [result = "i32", ...parameters]]) => [
            name,
            { result: kinds[result], parameters: parameters.map((kind) => kinds[kind]) },
          ]),
        ),
      ).symbols,
    view: (address, bytes) =>
      deno.UnsafePointerView.getArrayBuffer(deno.UnsafePointer.create(BigInt(address)), bytes),
  };
}

const native: Native =
  "Bun" in globalThis
    ? await bunNative()
    : denoNative((globalThis as unknown as { Deno: DenoFfi }).Deno);

export function openLibrary<S extends Record<string, string>>(
  library: string,
  signatures: S,
): { readonly [K in keyof S]: Call } {
  const symbols = Object.entries(signatures).map(([name, text]) => [
    name,
    text.split(" ") as Kind[],
  ]);
  return native.open(library, Object.fromEntries(symbols)) as { [K in keyof S]: Call };
}

/** Memory that no collector owns, at one of a few hundred fixed low addresses. It lives as long as the process. */
export interface Arena {
  readonly base: number;
  readonly buffer: ArrayBuffer;
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
}

const LOWEST = 0x5000_0000;
const HIGHEST = 0xf000_0000;
const STEP = 0x0100_0000;
const READ_WRITE = 3;
const SHARED_POPULATE = 0x8001;
const PRIVATE_ANONYMOUS_FIXED_NOREPLACE = 0x10_0022;

export function mapArena(bytes: number): Arena {
  const { mmap } = openLibrary("libc.so.6", { mmap: "word word word i32 i32 i32 word" });
  for (let at = LOWEST; at < HIGHEST; at += STEP) {
    const got = Number(mmap(at, bytes, READ_WRITE, PRIVATE_ANONYMOUS_FIXED_NOREPLACE, -1, 0));
    if (got !== at) continue;
    const buffer = native.view(at, bytes);
    return { base: at, buffer, bytes: new Uint8Array(buffer), words: new Int32Array(buffer) };
  }
  throw new Error(
    "no free address below 4 GB for the arena: is vm.overcommit or RLIMIT_AS set very low?",
  );
}

/** A kernel object's memory (an io_uring's rings), for as long as the process lives; undefined: it cannot be mapped. */
export function mapShared(fd: number, bytes: number, offset: number): Int32Array | undefined {
  const { mmap } = openLibrary("libc.so.6", { mmap: "word word word i32 i32 i32 word" });
  const at = Number(mmap(0, bytes, READ_WRITE, SHARED_POPULATE, fd, offset));
  return at === -1 ? undefined : new Int32Array(native.view(at, bytes));
}

/** errno of the call just made on this thread: read it before anything else runs. */
export function errnoReader(): () => number {
  const { __errno_location } = openLibrary("libc.so.6", { __errno_location: "word" });
  const cell = new Int32Array(native.view(Number(__errno_location()), 4));
  return () => cell[0] as number;
}
