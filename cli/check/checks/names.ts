// DNS: the resolvers of this host, and the capture of names of the mesh.
import type { Facts } from "../facts.ts";
import { type Finding, tellerOf } from "../finding.ts";
import type { Answered, MeshQuestion } from "../reading/names.ts";

const { ok, warning, error } = tellerOf("names");

export function checkNames(facts: Facts): readonly Finding[] {
  const { names, options } = facts;
  if (names.resolvers.length === 0)
    return [
      warning(
        "resolvers",
        "/etc/resolv.conf names no resolver: no name resolves by DNS, the mesh's neither",
        "name one in /etc/resolv.conf",
      ),
    ];
  return [
    ...(names.refusal === undefined
      ? []
      : [
          error(
            "capture",
            names.refusal,
            "echo no-dns >> /etc/ironmesh/agent.conf # and reach services by virtual IPs; or name the upstream resolvers",
          ),
        ]),
    ...(options.dns ? [] : [ok("capture", "names of the mesh are not wanted here (--no-dns)")]),
    ...names.outside.map(({ resolver, answered }) => outside(resolver, answered)),
    ...(names.mesh === undefined ? [] : [mesh(names.mesh)]),
  ];
}

/** Whatever it says: even a refusal is an answer, and came through the capture. */
const outside = (resolver: string, answered: Answered): Finding =>
  answered.is === "answer"
    ? ok("outside", `${resolver} answers`)
    : warning(
        "outside",
        `the resolver ${resolver} does not answer: ${answered.why}`,
        `dig @${resolver} . NS # mend it, or take it out of /etc/resolv.conf`,
      );

function mesh({ name, expected, answered }: MeshQuestion): Finding {
  if (answered.is === "silence")
    return error(
      "mesh-name",
      `${name} gets no answer: ${answered.why}`,
      "meshctl redirect status; the agent's log says whether its DNS sockets are open",
    );
  if (answered.addresses.includes(expected)) return ok("mesh-name", `${name} is ${expected}`);
  return error(
    "mesh-name",
    `${name} is ${answered.addresses.join(", ") || answered.code} and should be ${expected}: the question did not come to the agent`,
    "meshctl redirect status # the rules that capture DNS",
  );
}
