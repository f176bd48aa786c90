// The static table of HPACK, RFC 7541 appendix A.
import { bytesOf } from "../../base/bytes.ts";

export interface TableEntry {
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
export const STATIC_TABLE: readonly TableEntry[] = TEXT.split(/\s+/).map((text) => {
  const at = text.indexOf("=");
  const name = at < 0 ? text : text.slice(0, at);
  const value = at < 0 ? "" : text.slice(at + 1).replace("_", " ");
  return { name: bytesOf(name), value: bytesOf(value) };
});
