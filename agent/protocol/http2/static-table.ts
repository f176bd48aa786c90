// The static table of HPACK, RFC 7541 appendix A.
import { bytesOf } from "../../base/bytes.ts";
import { OFFSETS, type PackedFields } from "./packed-fields.ts";

interface StaticEntry {
  readonly name: Uint8Array;
  readonly value: Uint8Array;
}

/** `name` or `name=value`, in order of their index. */
const TEXT = `:authority :method=GET :method=POST :path=/ :path=/index.html :scheme=http :scheme=https :status=200 :status=204 :status=206
:status=304 :status=400 :status=404 :status=500 accept-charset accept-encoding=gzip,_deflate accept-language accept-ranges accept
access-control-allow-origin age allow authorization cache-control content-disposition content-encoding content-language content-length
content-location content-range content-type cookie date etag expect expires from host if-match if-modified-since if-none-match if-range
if-unmodified-since last-modified link location max-forwards proxy-authenticate proxy-authorization range referer refresh retry-after
server set-cookie strict-transport-security transfer-encoding user-agent vary via www-authenticate`;

/** Entry i has index i + 1. */
export const STATIC_TABLE: readonly StaticEntry[] = TEXT.split(/\s+/).map((text) => {
  const at = text.indexOf("=");
  const name = at < 0 ? text : text.slice(0, at);
  const value = at < 0 ? "" : text.slice(at + 1).replace("_", " ");
  return { name: bytesOf(name), value: bytesOf(value) };
});

/** The same for the decoder; entry i begins at slot i * OFFSETS. */
export const STATIC_FIELDS: PackedFields = pack(STATIC_TABLE);

function pack(entries: readonly StaticEntry[]): PackedFields {
  const bytes = new Uint8Array(
    entries.reduce((sum, { name, value }) => sum + name.length + value.length, 0),
  );
  const at = new Int32Array(entries.length * OFFSETS);
  let end = 0;
  entries.forEach(({ name, value }, i) => {
    bytes.set(name, end);
    bytes.set(value, end + name.length);
    at.set([end, end + name.length, end + name.length + value.length], i * OFFSETS);
    end += name.length + value.length;
  });
  return { bytes, at };
}
