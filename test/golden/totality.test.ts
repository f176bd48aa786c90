// The compiler is total, and what it makes is sound: whatever the sources, no index dangles and every question has an answer.
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { ResourceDocument } from "../../agent/api/session.ts";
import { authorizeConnection, authorizeRequest } from "../../agent/policy/authorize.ts";
import { PortBook, SlotBook } from "../../agent/policy/books.ts";
import { compile } from "../../agent/policy/compile.ts";
import { pickDestination, routeHttp, routeTcp } from "../../agent/policy/match-route.ts";
import type { RequestView } from "../../agent/policy/request-view.ts";
import type { PortView, ServicePort, Snapshot } from "../../agent/policy/snapshot.ts";
import { Tables } from "../../agent/policy/tables.ts";
import { anyInput } from "./random-sources.ts";

/** Every index points somewhere, or is the one that says nowhere. */
function checkIndices(snapshot: Snapshot): void {
  const { services, clusters, endpoints, workloads } = snapshot;
  for (const cluster of clusters) {
    expect(services[cluster.service]).toBeDefined();
    expect(cluster.endpoints.filter((index) => endpoints[index] === undefined)).toEqual([]);
  }
  for (const port of services.flatMap(({ ports }) => ports))
    for (const view of [port, ...Object.values(port.inNamespace ?? {})]) checkView(view, snapshot);
  const backed = workloads.flatMap(({ ports }) => ports.flatMap((port) => port.services));
  expect(backed.filter(({ service }) => services[service] === undefined)).toEqual([]);
}

function checkView(view: PortView, { clusters }: Snapshot): void {
  const { httpRoutes, tcpRoutes, tlsRoutes = [], cluster } = view;
  expect(clusters[cluster]).toBeDefined();
  const destinations = [
    ...httpRoutes.flatMap(({ action }) => (action.is === "forward" ? action.destinations : [])),
    ...[...tcpRoutes, ...tlsRoutes].flatMap((route) => route.destinations),
  ];
  const dangling = destinations.filter(
    (to) => to.cluster !== undefined && clusters[to.cluster] === undefined,
  );
  expect(dangling).toEqual([]);
  for (const { matches } of [...httpRoutes, ...tcpRoutes]) expect(matches.length).toBeLessThan(2);
  expect(tcpRoutes.at(-1)?.matches).toEqual([]);
}

const REQUEST: RequestView = {
  method: "GET",
  path: "/a?b",
  authority: "reviews",
  scheme: "http",
  header: () => "a",
};
const CALLER = { identity: "spiffe://lab/ns/default/sa/a", address: "10.0.0.1" };
const REACHED = { port: 80, address: "10.0.0.1" };

/** The data path's questions, all of them. */
function askEverything(snapshot: Snapshot): void {
  const tables = new Tables(snapshot);
  for (const { ports, names } of snapshot.services) {
    for (const name of names) expect(tables.resolveName(name)).not.toBe("not_ours");
    for (const port of ports) askPort(tables, port);
  }
  for (const [i, { address, port, mesh }] of snapshot.endpoints.entries()) {
    expect(tables.endpointAt(address, port)).toBeDefined();
    expect(tables.clusterOfEndpoint(i)).toBeDefined();
    if (mesh !== undefined) tables.inboundByServerName(mesh.serverName);
  }
  for (const { authorization } of snapshot.workloads) {
    authorizeRequest(authorization, CALLER, REACHED, REQUEST);
    authorizeConnection(authorization, CALLER, REACHED);
  }
}

function askPort(tables: Tables, port: ServicePort): void {
  for (const client of [undefined, ...tables.snapshot.workloads.keys()]) {
    const route = routeHttp(tables, client, port, REQUEST);
    if (route?.action.is === "forward") pickDestination(route.action.destinations, 0.5);
    expect(routeTcp(tables, client, port, "10.0.0.1")).toBeDefined();
  }
}

describe("totality", () => {
  test("whatever the sources, there is a snapshot, all of it points somewhere, and every question has an answer", () => {
    fc.assert(
      fc.property(anyInput, (input) => {
        const { snapshot } = compile(input);
        checkIndices(snapshot);
        askEverything(snapshot);
      }),
      { numRuns: 300 },
    );
  });

  test("the same sources in any order give the same snapshot", () => {
    fc.assert(
      fc.property(anyInput, fc.infiniteStream(fc.nat()), (input, order) => {
        const named = input.resources.map((doc, i) => ({
          ...doc,
          metadata: { ...doc.metadata, name: `n${i}` },
        }));
        const shuffled = named
          .map((doc) => ({ doc, at: order.next().value }))
          .sort((a, b) => a.at - b.at);
        const again = (resources: readonly ResourceDocument[]) =>
          compile({
            ...input,
            resources,
            slots: new SlotBook(0, 5000).draft(),
            ports: new PortBook().draft(),
          });
        expect(again(shuffled.map(({ doc }) => doc)).snapshot).toEqual(again(named).snapshot);
      }),
      { numRuns: 50 },
    );
  });
});
