// What a service port speaks, in Istio's words, and what the proxy makes of them.
import * as z from "zod";

/** Routed request by request; to what is declared HTTP2 or GRPC requests are made in HTTP/2, without TLS and without being asked. */
const ROUTED = new Set(["HTTP", "HTTP2", "GRPC"]);
/** Carried as opaque bytes, whatever is inside. */
const OPAQUE = new Set(["TCP", "TLS", "HTTPS", "MONGO", "MYSQL", "REDIS"]);
const NOT_YET: Readonly<Record<string, string>> = {
  "GRPC-WEB": "write HTTP",
  UDP: "",
};

/** Istio compares protocols without regard to case. */
export const portProtocolName = z.string().check((context) => {
  const name = context.value.toUpperCase();
  if (ROUTED.has(name) || OPAQUE.has(name)) return;
  const instead = NOT_YET[name];
  context.issues.push({
    code: "custom",
    message:
      instead === undefined
        ? `must be ${[...ROUTED, ...OPAQUE].join(", ")}, not ${JSON.stringify(context.value)}`
        : `${name} is not supported yet${instead && `: ${instead}`}`,
    input: context.value,
    continue: true,
  });
});
