// What a service port speaks, in Istio's words, and what the proxy makes of them.
import * as z from "zod";

/** Carried as opaque bytes, whatever is inside. */
const OPAQUE = new Set(["TCP", "TLS", "HTTPS", "MONGO", "MYSQL", "REDIS"]);
const NOT_YET: Readonly<Record<string, string>> = {
  HTTP2: "write TCP to carry it unread",
  GRPC: "write TCP to carry it unread",
  "GRPC-WEB": "write HTTP",
  UDP: "",
};

/** Istio compares protocols without regard to case. */
export const portProtocolName = z.string().check((context) => {
  const name = context.value.toUpperCase();
  if (name === "HTTP" || OPAQUE.has(name)) return;
  const instead = NOT_YET[name];
  context.issues.push({
    code: "custom",
    message:
      instead === undefined
        ? `must be HTTP, ${[...OPAQUE].join(", ")}, not ${JSON.stringify(context.value)}`
        : `${name} is not supported yet${instead && `: ${instead}`}`,
    input: context.value,
    continue: true,
  });
});
