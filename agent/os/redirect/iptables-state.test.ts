import { expect, test } from "bun:test";
import { readState, restoreText, tableDifferences, wantedState } from "./iptables-state.ts";

const SAVED = `# Generated
*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:IRONMESH_OUT - [0:0]
:IRONMESH_OLD - [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT -p tcp -m comment --comment "ironmesh:0000aaaa entry" -j IRONMESH_OUT
-A OUTPUT -p tcp -m comment --comment "ironmesh:0000bbbb entry" -j IRONMESH_OLD
-A DOCKER -p tcp --dport 80 -j DNAT --to-destination 172.17.0.2:80
-A IRONMESH_OUT -m comment --comment "ironmesh:11112222 the agent" -j RETURN
COMMIT
`;
const WANTED = wantedState(
  {
    table: "nat",
    chains: [
      {
        name: "IRONMESH_OUT",
        lines: ['-m comment --comment "ironmesh:11112222 the agent" -j RETURN'],
      },
    ],
    jumps: [
      {
        from: "OUTPUT",
        line: '-p tcp -m comment --comment "ironmesh:0000aaaa entry" -j IRONMESH_OUT',
      },
    ],
  },
  readState(SAVED).get("nat"),
);

test("only our chains and the rules that enter them are seen", () => {
  const nat = readState(SAVED).get("nat");
  expect([...(nat?.chains.keys() ?? [])]).toEqual(["IRONMESH_OUT", "IRONMESH_OLD"]);
  expect(nat?.jumps.map(({ from }) => from)).toEqual(["OUTPUT", "OUTPUT"]);
  expect(readState(SAVED).get("filter")).toBeUndefined();
});

test("a chain of an older plan is left, emptied and taken away, and what is right stays", () => {
  const text = restoreText("nat", WANTED, readState(SAVED).get("nat"));
  expect(text).toContain(
    '-D OUTPUT -p tcp -m comment --comment "ironmesh:0000bbbb entry" -j IRONMESH_OLD',
  );
  expect(text).toContain("-F IRONMESH_OLD\n");
  expect(text).toContain("-X IRONMESH_OLD\n");
  expect(text).not.toContain("DOCKER");
});

test("what is as wanted asks for no restore at all", () => {
  const clean = SAVED.replace(/^.*IRONMESH_OLD.*\n/gm, "");
  expect(restoreText("nat", WANTED, readState(clean).get("nat"))).toBe("");
  expect(tableDifferences("ip nat", WANTED, readState(clean).get("nat"))).toEqual([]);
});

test("a stranger's rule in our chain is a difference", () => {
  const meddled = SAVED.replace("COMMIT\n*nat", "COMMIT\n*nat").replace(
    /(-A IRONMESH_OUT .*\n)/,
    "$1-A IRONMESH_OUT -j ACCEPT\n",
  );
  expect(tableDifferences("ip nat", WANTED, readState(meddled).get("nat"))).toContain(
    "ip nat: chain IRONMESH_OUT holds other rules than planned",
  );
});
