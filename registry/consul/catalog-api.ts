// Consul's catalog as far as we use it: who is there and healthy, and what we register ourselves. Answers are parsed at the door.
// https://developer.hashicorp.com/consul/api-docs/catalog and /health
import * as z from "zod";
import {
  type Blocking,
  type Call,
  type ConsulClient,
  ConsulFailure,
  type Indexed,
} from "./client.ts";

/** One instance of a service with the state of its checks and its node's. */
export interface Instance {
  readonly node: string;
  readonly nodeAddress: string;
  readonly id: string;
  /** Empty: its node's. */
  readonly address: string;
  readonly port: number;
  readonly tags: readonly string[];
  readonly meta: { readonly [name: string]: string };
  readonly weight: number;
  /** The worst of all its checks; without any it is passing. */
  readonly status: "passing" | "warning" | "critical";
}

export interface NodeRegistration {
  readonly node: string;
  readonly address: string;
  readonly nodeMeta: { readonly [name: string]: string };
}
export interface ServiceRegistration {
  readonly id: string;
  readonly service: string;
  readonly address: string;
  readonly port: number;
  readonly tags: readonly string[];
  readonly meta: { readonly [name: string]: string };
}
export interface CheckRegistration {
  readonly checkId: string;
  readonly name: string;
  readonly status: "passing" | "critical";
  readonly output: string;
}

const words = z.record(z.string(), z.string()).nullish();
const instanceShape = z.object({
  Node: z.object({ Node: z.string(), Address: z.string() }),
  Service: z.object({
    ID: z.string(),
    Address: z.string(),
    Port: z.number(),
    Tags: z.array(z.string()).nullish(),
    Meta: words,
    Weights: z.object({ Passing: z.number() }).nullish(),
  }),
  Checks: z.array(z.object({ Status: z.string() })),
});
const nodeShape = z.array(z.object({ Node: z.string(), Meta: words }));
const nodeServicesShape = z
  .object({
    Node: z.object({ Node: z.string(), Address: z.string() }),
    Services: z.record(
      z.string(),
      z.object({ ID: z.string(), Service: z.string(), Port: z.number(), Address: z.string() }),
    ),
  })
  .nullish();

export class ConsulCatalogApi {
  readonly #client: ConsulClient;

  constructor(client: ConsulClient) {
    this.#client = client;
  }

  /** Names of all services the token may see. */
  services(blocking?: Blocking): Promise<Indexed<readonly string[]>> {
    return this.#query(
      "list services",
      (consul) => consul.catalog.service.list.bind(consul.catalog.service) as unknown as Call,
      {},
      (body) => Object.keys(this.#parse(z.record(z.string(), z.unknown()), body)),
      blocking,
    );
  }

  async instances(service: string): Promise<readonly Instance[]> {
    const answer = await this.#query(
      `read service ${service}`,
      (consul) => consul.health.service.bind(consul.health) as unknown as Call,
      { service },
      (body) => this.#parse(z.array(instanceShape), body).map(instanceOf),
    );
    return answer.value;
  }

  /** Answers when the state of any check changed. */
  async anyCheck(blocking: Blocking): Promise<Indexed<undefined>> {
    return this.#query(
      "watch checks",
      (consul) => consul.health.state.bind(consul.health) as unknown as Call,
      // What the checks are is asked for by service; here only that they changed counts.
      { state: "any", filter: 'CheckID == "ironmesh-none"' },
      () => undefined,
      blocking,
    );
  }

  /** Nodes whose meta has this. */
  async nodesWith(name: string, value: string): Promise<readonly string[]> {
    const answer = await this.#query(
      "list nodes",
      (consul) => consul.catalog.node.list.bind(consul.catalog.node) as unknown as Call,
      {},
      (body) => this.#parse(nodeShape, body),
    );
    return answer.value.filter(({ Meta }) => Meta?.[name] === value).map(({ Node }) => Node);
  }

  /** Ids of a node's services. */
  async servicesOn(node: string): Promise<readonly string[]> {
    const answer = await this.#query(
      `read node ${node}`,
      (consul) => consul.catalog.node.services.bind(consul.catalog.node) as unknown as Call,
      { node },
      (body) => Object.keys(this.#parse(nodeServicesShape, body ?? undefined)?.Services ?? {}),
    );
    return answer.value;
  }

  /** Node, and on it a service or a check of the node; each replaces what had its name. */
  async register(
    node: NodeRegistration,
    what: { readonly service?: ServiceRegistration; readonly check?: CheckRegistration },
  ): Promise<void> {
    const { service, check } = what;
    await this.#client.order(
      "register in the catalog",
      (consul) => consul.catalog.register.bind(consul.catalog) as unknown as Call,
      {
        node: node.node,
        address: node.address,
        nodemeta: node.nodeMeta,
        ...(service === undefined ? {} : { service }),
        ...(check === undefined ? {} : { check: { ...check, node: node.node } }),
      },
    );
  }

  /** Without a service: the node with all it has. */
  async deregister(node: string, serviceId?: string): Promise<void> {
    await this.#client.order(
      "deregister from the catalog",
      (consul) => consul.catalog.deregister.bind(consul.catalog) as unknown as Call,
      { node, ...(serviceId === undefined ? {} : { serviceid: serviceId }) },
    );
  }

  #query<T>(
    what: string,
    pick: Parameters<ConsulClient["query"]>[1],
    options: Parameters<ConsulClient["query"]>[2],
    read: (body: unknown) => T,
    blocking?: Blocking,
  ): Promise<Indexed<T>> {
    return this.#client.query(what, pick, options, {
      read,
      ...(blocking === undefined ? {} : { blocking }),
    });
  }

  #parse<T>(shape: z.ZodType<T>, body: unknown): T {
    const parsed = shape.safeParse(body);
    if (parsed.success) return parsed.data;
    throw new ConsulFailure(
      "unexpected",
      `Consul at ${this.#client.url} answered in a shape that it does not have: ${parsed.error.issues[0]?.path.join(".")}`,
      "is this address really Consul's HTTP API? see Consul's own log",
    );
  }
}

function instanceOf({ Node, Service, Checks }: z.infer<typeof instanceShape>): Instance {
  const states = Checks.map(({ Status }) => Status);
  return {
    node: Node.Node,
    nodeAddress: Node.Address,
    id: Service.ID,
    address: Service.Address,
    port: Service.Port,
    tags: Service.Tags ?? [],
    meta: Service.Meta ?? {},
    weight: Service.Weights?.Passing ?? 1,
    status: states.every((one) => one === "passing")
      ? "passing"
      : states.every((one) => one === "passing" || one === "warning")
        ? "warning"
        : "critical",
  };
}
