// ironmesh.dev Workload: which local processes are who, and which services they back. Ours, not Istio's.
import * as z from "zod";
import { portProtocolName } from "./port-protocol.ts";
import { across, atLeast, dnsLabel, fields, list, nonEmpty, port } from "./schema-parts.ts";

const id = (what: string) =>
  z.int().refine((v) => v >= 0 && v < 2 ** 32 - 1, { error: `must be a ${what}` });

const processes = fields(
  {
    user: z
      .string()
      .regex(/^[a-z_][a-z0-9_.-]{0,31}\$?$/i, "must be a user name")
      .optional()
      .describe("Name of the user they run as, looked up on the host. The usual choice."),
    uid: id("user id").optional().describe("The same by number, for users without a name."),
    gid: id("group id").optional().describe("Group they run as."),
    slice: z
      .string()
      .regex(/^[a-zA-Z0-9:_.\\-]{1,200}\.slice$/, "must be a slice such as `reviews.slice`")
      .optional()
      .describe("systemd slice they run in; it must exist and stay."),
  },
  {
    notYet: {
      systemdUnit:
        "a unit's cgroup is new after each restart, so nothing can hold on to it; write the unit's `user`, or `slice`",
      mesosTask: "",
    },
  },
).check(
  across((given, report) => {
    if (Object.keys(given).length !== 1) report("must have exactly one of user, uid, gid, slice");
  }),
);

const servicePort = fields({
  port: port.describe("Port that callers use."),
  name: dnsLabel
    .optional()
    .describe(
      "Name of the port. One that begins with a protocol (`http-web`, `tcp-db`) tells it where `protocol` does not. Default: none.",
    ),
  targetPort: port.optional().describe("Port the app listens on. Default: `port`."),
  protocol: portProtocolName
    .optional()
    .describe(
      "HTTP, HTTP2, GRPC: routed request by request; an app of the latter two is asked in HTTP/2 without TLS, whatever its client speaks. TCP (also MONGO, MYSQL, REDIS): carried unread. TLS, HTTPS: the app terminates it; carried unread too, but for the server name that its clients ask for (`tls` routes, `connection.sni`). UDP: datagrams, taken from callers in the mesh only. Default: by `name`, else the first bytes decide, which delays server-first protocols.",
    ),
});

const service = fields({
  name: dnsLabel.describe("Callers reach it as NAME, NAME.NAMESPACE and NAME.NAMESPACE.mesh."),
  ports: list(servicePort)
    .check(
      across((ports, report) => {
        if (ports.length === 0) report("must not be empty");
        ports.forEach((p, i) => {
          if (ports.findIndex((q) => q.port === p.port) !== i)
            report(`is declared twice: ${p.port}`, i, "port");
        });
      }),
    )
    .describe("Ports of the service that this workload backs."),
});

export const workloadSpec = fields({
  hosts: list(nonEmpty)
    .check(
      across((hosts, report) => {
        if (hosts.length === 0) report("must not be empty: name the hosts it runs on");
        hosts.forEach((host, i) => {
          if (hosts.indexOf(host) !== i) report("is named twice", i);
        });
      }),
    )
    .describe("Hosts it runs on, by the names they joined with."),
  serviceAccount: dnsLabel.describe(
    "Who it is: its identity is spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT. The hosts' join tokens must grant it.",
  ),
  process: processes.describe("Which processes on those hosts are this workload: exactly one way."),
  address: z
    .enum(["host", "loopback"])
    .optional()
    .describe(
      "Where the app listens: on the host's addresses (`host`, the default) or only on 127.0.0.1 (`loopback`).",
    ),
  services: list(service)
    .check(
      across((services, report) => {
        services.forEach((s, i) => {
          if (services.findIndex((t) => t.name === s.name) !== i)
            report(`is declared twice: \`${s.name}\``, i, "name");
        });
      }),
    )
    .optional()
    .describe("Services it backs. Default: none, it only calls others."),
  weight: atLeast(1)
    .optional()
    .describe("Share of traffic among the endpoints of its services. Default 1."),
});

export type WorkloadSpec = z.infer<typeof workloadSpec>;
