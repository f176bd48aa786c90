// RFC 6455 4.1 and 4.2.2, for agent/protocol/http2: keys of WebSockets that an agent asks for in another's name. node:crypto is loaded with
// the first of them.

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_BYTES = 16;

const crypto = () => process.getBuiltinModule("node:crypto");

export const webSocketKeys = {
  make: (): string => crypto().randomBytes(KEY_BYTES).toString("base64"),
  acceptOf: (key: string): string =>
    crypto().createHash("sha1").update(`${key}${GUID}`).digest("base64"),
};
