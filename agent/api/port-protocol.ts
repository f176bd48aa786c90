// What a service port speaks, in Istio's words, and what the proxy makes of them.
import * as z from "zod";

/** Routed request by request; to what is declared HTTP2 or GRPC requests are made in HTTP/2, without TLS and without being asked. */
const ROUTED = new Set(["HTTP", "HTTP2", "GRPC"]);
/** Carried as opaque bytes, whatever is inside. */
const OPAQUE = new Set(["TCP", "TLS", "HTTPS", "MONGO", "MYSQL", "REDIS"]);
const NOT_YET: Readonly<Record<string, string>> = {
  "GRPC-WEB": "GRPC-WEB is not supported yet: write HTTP",
};

/** Declared, or by its name, as agent/policy/port-protocol.ts reads both: TLS that is not terminated here. */
export const saysTls = (port: { readonly name: string; readonly protocol?: string | undefined }) =>
  /^(?:tls|https)(?:-|$)/i.test(port.protocol || port.name);

/** Istio compares protocols without regard to case. */
export const portProtocolName = z.string().check((context) => {
  const name = context.value.toUpperCase();
  if (ROUTED.has(name) || OPAQUE.has(name) || name === "UDP") return;
  context.issues.push({
    code: "custom",
    message:
      NOT_YET[name] ??
      `must be ${[...ROUTED, ...OPAQUE, "UDP"].join(", ")}, not ${JSON.stringify(context.value)}`,
    input: context.value,
    continue: true,
  });
});
