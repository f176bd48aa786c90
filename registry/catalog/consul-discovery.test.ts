import { afterAll, beforeAll, expect, test } from "bun:test";
import { SeededRandom } from "../../agent/base/clock.ts";
import { SILENT_LOG } from "../../agent/base/log.ts";
import { systemClock, systemTimers } from "../../agent/os/clock.ts";
import { TestConsul } from "../../test/support/consul.ts";
import { ConsulCatalogApi } from "../consul/catalog-api.ts";
import { ConsulClient } from "../consul/client.ts";
import type { DiscoveredService } from "./catalog.ts";
import { believe, discoverServices, FORGET_AFTER_MS } from "./consul-discovery.ts";

const service = (name: string, ...addresses: readonly string[]): DiscoveredService => ({
  name,
  protocol: "",
  endpoints: addresses.map((address) => ({ address, port: 80, weight: 1, labels: {} })),
});
const byName = (...services: readonly DiscoveredService[]) =>
  new Map(services.map((one) => [one.name, one]));

test("a service that Consul lists no more is kept for ten minutes, counted anew each time it was back", () => {
  const missing = new Map<string, number>();
  const web = service("web", "10.0.0.1");
  const look = (seen: ReadonlyMap<string, DiscoveredService>, nowMs: number) =>
    believe(byName(web), seen, missing, nowMs);
  expect(look(new Map(), 0)).toEqual([web]);
  expect(look(new Map(), FORGET_AFTER_MS - 1)).toEqual([web]);
  expect(look(byName(web), FORGET_AFTER_MS - 1)).toEqual([web]);
  expect(look(new Map(), FORGET_AFTER_MS)).toEqual([web]);
  expect(look(new Map(), 2 * FORGET_AFTER_MS)).toEqual([]);
});

test("a service without a healthy instance keeps those it had, and a new one begins with none", () => {
  const [web, none] = [service("web", "10.0.0.1"), service("web")];
  expect(believe(byName(web), byName(none), new Map(), 0)).toEqual([web]);
  expect(believe(new Map(), byName(none), new Map(), 0)).toEqual([none]);
  const other = service("web", "10.0.0.2");
  expect(believe(byName(web), byName(other), new Map(), 0)).toEqual([other]);
});

const RULES = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }';
let consul: TestConsul;
beforeAll(async () => {
  consul = await TestConsul.start({ hasAcl: true });
}, 60_000);
afterAll(() => consul.stop());

test("a token that may no more read gets 200 and nothing, which takes nothing away", async () => {
  const token = await consul.tokenFor("mesh", RULES);
  const client = new ConsulClient({ url: consul.url, token });
  const api = new ConsulCatalogApi(client);
  let known: readonly DiscoveredService[] = [];
  let troubles: string[] = [];
  const stop = discoverServices({
    api,
    clock: systemClock(),
    timers: systemTimers(),
    random: new SeededRandom(1),
    log: { ...SILENT_LOG, warn: (_, fields) => void troubles.push(String(fields?.["cause"])) },
    known: () => Promise.resolve(known),
    discover: (found) => {
      known = found;
      return Promise.resolve();
    },
  });
  const until = async (what: string, holds: () => boolean): Promise<void> => {
    const deadline = performance.now() + 20_000;
    while (!holds()) {
      if (performance.now() > deadline) throw new Error(`${what} did not come`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  const register = (name: string, address: string) =>
    consul.ask("PUT", "/v1/catalog/register", {
      Node: "elsewhere",
      Address: address,
      Service: { Service: name, Address: address, Port: 80 },
    });
  const names = () => known.map(({ name }) => name).join();
  await register("web", "10.0.0.1");
  await until("web", () => names() === "web");
  const [policy] = (
    await consul.ask<{ ID: string; Name: string }[]>("GET", "/v1/acl/policies")
  ).filter(({ Name }) => Name === "mesh");
  const change = (rules: string) =>
    consul.ask("PUT", `/v1/acl/policy/${policy?.ID}`, { Name: "mesh", Rules: rules });
  troubles = [];
  await change('key_prefix "" { policy = "read" }');
  await register("db", "10.0.0.2");
  await until("blindness", () => troubles.some((one) => one.includes("may not read services")));
  expect((await api.services()).value).toEqual([]);
  expect(names()).toBe("web");
  await change(RULES);
  await until("db", () => names() === "db,web");
  stop();
  client.close();
}, 90_000);
