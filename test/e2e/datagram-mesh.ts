// A mesh (mesh.ts) with services of UDP on host b, called from a: what the tests of datagrams share.
import { ADDRESS, eventually } from "../support/hosts.ts";
import type { Remote } from "../support/remote.ts";
import type { DatagramsOptions } from "../support/remote-kit.ts";
import type { Forged } from "./forge-datagram.ts";
import { type AccessLine, type Member, Mesh } from "./mesh.ts";
import { DATAGRAMS, UID } from "./ports.ts";

export interface FlowLine extends AccessLine {
  readonly protocol?: string;
  readonly upstream_cluster?: string;
  readonly datagrams_received?: number;
  readonly datagrams_sent?: number;
}

export type Answers = (number | string)[];

export class DatagramMesh {
  readonly mesh: Mesh;
  /** On a, of a workload and of none; on b, of none; the app; on a host without an agent. */
  readonly client: Remote;
  readonly stranger: Remote;
  readonly neighbour: Remote;
  readonly app: Remote;
  readonly outside: Remote;
  readonly logs: { readonly vip4: string; readonly vip6: string };
  readonly names: { readonly vip4: string; readonly vip6: string };

  private constructor(parts: Pick<DatagramMesh, Part>) {
    this.mesh = parts.mesh;
    this.client = parts.client;
    this.stranger = parts.stranger;
    this.neighbour = parts.neighbour;
    this.app = parts.app;
    this.outside = parts.outside;
    this.logs = parts.logs;
    this.names = parts.names;
  }

  /** `addresses`: of services on a and b, if not IPv4. */
  static async up(
    backend: "iptables" | "nft",
    addresses?: Readonly<Record<Member, string>>,
  ): Promise<DatagramMesh> {
    const mesh = await Mesh.up([], ["--redirect", backend], [], addresses);
    try {
      return new DatagramMesh(await begin(mesh));
    } catch (cause) {
      for (const log of ["agent-a", "agent-b"]) console.error(log, mesh.log(log));
      await mesh.down();
      throw cause;
    }
  }

  down(): Promise<void> {
    return this.mesh.down();
  }

  send(who: Remote, options: DatagramsOptions): Promise<Answers> {
    return who.run((kit, o) => kit.datagrams(o), options);
  }
  /** Of the service `logs`: one datagram of 64 bytes, where nothing else is said. */
  ask(who: Remote, options: Partial<DatagramsOptions> = {}): Promise<Answers> {
    return this.send(who, { host: this.logs.vip4, port: 514, sizes: [64], ...options });
  }
  untilAnswered(who: Remote, options: Partial<DatagramsOptions> = {}): Promise<boolean> {
    const ask = (): Promise<Answers> => this.ask(who, { withinMs: 300, ...options });
    return eventually("an answer", async () => (await ask()).length === 1, 20_000);
  }

  /** How many datagrams came to the app, by where from. */
  seenByApp(): Promise<[string, number][]> {
    return this.app.run((kit) => [...kit.counts]);
  }
  textsSeenByApp(): Promise<string[]> {
    return this.app.run((kit) => kit.texts);
  }
  forgetSeen(): Promise<void> {
    return this.app.run((kit) => {
      kit.counts.clear();
      kit.texts.length = 0;
    });
  }

  dropped(host: Member, reason: string): Promise<number> {
    return this.mesh.metric(host, "ironmesh_udp_dropped_total", `reason="${reason}"`);
  }
  flowsOf(host: Member): FlowLine[] {
    return this.mesh
      .log(`agent-${host}`)
      .split("\n")
      .filter((line) => line.startsWith('{"start_time"'))
      .map((line) => JSON.parse(line) as FlowLine)
      .filter(({ protocol }) => protocol === "UDP");
  }

  /** The access line of a flow of so many datagrams to that cluster; the error shows which ended instead. */
  async endedFlow(host: Member, received: number, cluster: RegExp): Promise<FlowLine> {
    const isIt = (flow: FlowLine): boolean =>
      flow.datagrams_received === received && cluster.test(flow.upstream_cluster ?? "");
    try {
      return await eventually(`the flow's line on ${host}`, () => this.flowsOf(host).find(isIt));
    } catch (cause) {
      const last = JSON.stringify(this.flowsOf(host).slice(-4));
      throw new Error(`${(cause as Error).message}; the last flows: ${last}`);
    }
  }

  /** All UDP that passes host c, which is the switch, while `work` is done and until `isWhole`: tcpdump's lines, with hexadecimal bytes. */
  async wireDuring(work: () => Promise<void>, isWhole: (wire: string) => boolean): Promise<string> {
    const words = ["tcpdump", "-i", "any", "-n", "-x", "-U", "--immediate-mode", "udp"];
    const log = `wire-${++this.#taps}`;
    const tap = this.mesh.hosts.spawn("c", words, { uid: 0, log });
    await eventually("tcpdump listens", () => this.mesh.log(log).includes("listening on"));
    await work();
    await eventually("the wire's datagrams", () => isWhole(this.mesh.log(log)));
    tap.kill();
    return this.mesh.log(log);
  }
  #taps = 0;

  /** From host c, as if from another. */
  async forge(forged: Forged): Promise<void> {
    const { place } = this.mesh.hosts;
    const program = await place.program(new URL("./forge-datagram.ts", import.meta.url).pathname);
    const command = [place.runtime, program, JSON.stringify(forged)];
    const { code, stderr } = await this.mesh.hosts.run("c", command, { uid: 0 });
    if (code !== 0) throw new Error(`not sent: ${stderr}`);
  }
}

type Part = "mesh" | "client" | "stranger" | "neighbour" | "app" | "outside" | "logs" | "names";

async function begin(mesh: Mesh): Promise<Pick<DatagramMesh, Part>> {
  const [client, stranger, neighbour, app, outside, resolver] = await Promise.all([
    mesh.remote("a", UID.client),
    mesh.remote("a", UID.stranger),
    mesh.remote("b", UID.stranger),
    mesh.remote("b", UID.datagrams),
    mesh.remote("c", UID.outside),
    mesh.remote("b", 0),
  ]);
  await app.run((kit, port) => kit.echoDatagrams(port), DATAGRAMS.echo);
  await app.run((kit, port) => kit.echoDatagrams(port), DATAGRAMS.undeclared);
  await resolver.run((kit, address) => kit.serveNames(address, "192.0.2.77"), ADDRESS.b);
  await mesh.apply(WORKLOADS);
  const logs = await mesh.vipOf("logs.default.mesh");
  const names = await mesh.vipOf("names.default.mesh");
  return { mesh, client, stranger, neighbour, app, outside, logs, names };
}

const WORKLOADS = `
apiVersion: ironmesh.dev/v1
kind: Workload
metadata: { name: logs, labels: { app: logs } }
spec:
  hosts: [b]
  serviceAccount: backend
  process: { uid: ${UID.datagrams} }
  services:
    - name: logs
      ports: [{ port: 514, targetPort: ${DATAGRAMS.echo}, protocol: UDP }]
---
apiVersion: ironmesh.dev/v1
kind: Workload
metadata: { name: names }
spec:
  hosts: [b]
  serviceAccount: backend
  process: { uid: 0 }
  services:
    - name: names
      ports: [{ port: 53, targetPort: ${DATAGRAMS.names}, name: udp-dns }]
`;
