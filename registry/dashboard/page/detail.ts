// The side panel of one node: its figures, who calls it and whom it calls, and of a service also endpoints, versions, policies and
// the last changes, as the server's store has them.
import type { EdgeView, GraphView, NodeView, ServiceView } from "../../../agent/api/edges.ts";
import { h, setAttribute, setText } from "./dom.ts";
import {
  agoText,
  bytesText,
  HEALTH_WORDS,
  LOCK_WORDS,
  msText,
  nameOf,
  rateText,
  successText,
} from "./format.ts";

export interface DetailEvents {
  onClose(): void;
  onSelect(node: NodeView): void;
}

export class Detail {
  readonly element: HTMLElement;
  readonly id: string;
  readonly #events: DetailEvents;
  readonly #state = h("span", { class: "state" });
  readonly #figures = h("dl", { class: "figures" });
  readonly #calls = h("div", { class: "calls" });
  readonly #stored = h("div", { class: "stored" });
  readonly #close = h(
    "button",
    { type: "button", class: "close", "aria-label": "Back to the overview" },
    "✕",
  );

  constructor(node: NodeView, events: DetailEvents) {
    this.id = node.id;
    this.#events = events;
    this.#close.addEventListener("click", () => events.onClose());
    this.element = h(
      "div",
      { class: "detail" },
      h(
        "header",
        {},
        h("div", {}, h("h2", {}, nameOf(node)), h("p", { class: "where" }, whereOf(node))),
        this.#state,
        this.#close,
      ),
      this.#figures,
      this.#calls,
      this.#stored,
    );
    if (node.kind === "service") this.#stored.append(h("p", { class: "notes" }, "Loading…"));
  }

  focus(): void {
    this.#close.focus();
  }

  show(graph: GraphView): void {
    const node = graph.nodes.find(({ id }) => id === this.id);
    if (node === undefined) return;
    setText(this.#state, HEALTH_WORDS[node.health]);
    setAttribute(this.#state, "data-health", node.health);
    this.#figures.replaceChildren(...figuresOf(node));
    const names = new Map(graph.nodes.map((one) => [one.id, one]));
    const incoming = graph.edges.filter(({ destination }) => destination === this.id);
    const outgoing = graph.edges.filter(({ source }) => source === this.id);
    // Anew every two seconds; not while somebody tabs through it.
    if (this.#calls.contains(document.activeElement)) return;
    this.#calls.replaceChildren(
      ...this.#callList("Called by", incoming, ({ source }) => names.get(source)),
      ...this.#callList("Calls", outgoing, ({ destination }) => names.get(destination)),
    );
  }

  #callList(
    title: string,
    edges: readonly EdgeView[],
    other: (edge: EdgeView) => NodeView | undefined,
  ): HTMLElement[] {
    if (edges.length === 0) return [];
    const items = edges.map((edge) => {
      const node = other(edge);
      const button = h(
        "button",
        { type: "button", class: "link" },
        node === undefined ? "?" : nameOf(node),
      );
      if (node !== undefined) button.addEventListener("click", () => this.#events.onSelect(node));
      const words =
        edge.health === "idle"
          ? "no traffic"
          : `${rateText(edge.figures)} · ${successText(edge.figures)} · ${LOCK_WORDS[edge.mtls]}`;
      const problem =
        edge.problem === undefined ? undefined : h("span", { class: "problem" }, edge.problem);
      return h(
        "li",
        { "data-health": edge.health },
        h("span", { class: "row" }, button, words),
        problem,
      );
    });
    return [h("h3", {}, title), h("ul", { class: "plain" }, ...items)];
  }

  /** `undefined`: the service is gone. */
  showStored(view: ServiceView | undefined, nowMs: number): void {
    if (view === undefined) {
      this.#stored.replaceChildren(
        h("p", { class: "notes" }, "This service is not declared any more."),
      );
      return;
    }
    this.#stored.replaceChildren(
      h("h3", {}, `Endpoints (${view.endpoints.length})`),
      view.endpoints.length === 0
        ? h("p", { class: "notes" }, "None: no joined host backs it.")
        : endpointTable(view),
      h("h3", {}, "Ports and addresses"),
      h("p", { class: "mono" }, [...view.ports.map(portText), ...view.addresses].join("  ")),
      h("h3", {}, `Policies and routes (${view.policies.length})`),
      h(
        "ul",
        { class: "plain" },
        ...view.policies.map(({ kind, title }) =>
          h("li", {}, h("span", { class: "kind" }, kind), h("span", { class: "mono" }, title)),
        ),
      ),
      h("h3", {}, "Last changes"),
      view.changes.length === 0
        ? h("p", { class: "notes" }, "None that the server remembers.")
        : h(
            "ol",
            { class: "plain changes" },
            ...view.changes.map(({ version, atMs, who, what }) =>
              h(
                "li",
                {},
                h("span", { class: "mono" }, what),
                h(
                  "span",
                  { class: "notes" },
                  `version ${version}, by ${who}, ${agoText(atMs, nowMs)}`,
                ),
              ),
            ),
          ),
    );
  }
}

const KINDS: Readonly<Record<NodeView["kind"], string>> = {
  service: "service",
  workload: "workload that backs no service",
  host: "processes of no workload on this host",
  outside: "not of this mesh",
};
const whereOf = ({ kind, namespace }: NodeView): string =>
  namespace === "" ? KINDS[kind] : `${KINDS[kind]} in ${namespace}`;

function figuresOf({ figures, kind, versions }: NodeView): HTMLElement[] {
  const { requestsPerSecond, p50Ms, p95Ms, p99Ms } = figures;
  const pairs: [string, string][] = [
    ["Rate", figures.successRatio === undefined ? "–" : rateText(figures)],
    ["Success", successText(figures)],
  ];
  if (requestsPerSecond > 0 || figures.sentBytesPerSecond === 0)
    pairs.push(["p50", msText(p50Ms)], ["p95", msText(p95Ms)], ["p99", msText(p99Ms)]);
  else
    pairs.push(
      ["Out", `${bytesText(figures.sentBytesPerSecond)}/s`],
      ["In", `${bytesText(figures.receivedBytesPerSecond)}/s`],
    );
  if (kind === "service") pairs.push(["Versions", versions.join(", ") || "–"]);
  return pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)));
}

function endpointTable({ endpoints }: ServiceView): HTMLElement {
  const rows = endpoints.map((endpoint) => {
    const { isConnected, identity } = endpoint;
    const state =
      isConnected === undefined ? "no agent" : isConnected ? "connected" : "NOT connected";
    return h(
      "tr",
      { "data-health": isConnected === false ? "failing" : "ok", title: identity },
      h(
        "td",
        {},
        h("span", { class: "mono" }, endpoint.address),
        h("span", { class: "notes" }, endpoint.host),
      ),
      h(
        "td",
        {},
        h("span", {}, endpoint.workload.slice(endpoint.workload.indexOf("/") + 1)),
        h("span", { class: "notes" }, endpoint.version ?? "no version"),
      ),
      h("td", { class: "agent" }, state),
    );
  });
  const head = h(
    "tr",
    {},
    ...["Address, host", "Workload", "Agent"].map((text) => h("th", { scope: "col" }, text)),
  );
  return h("table", { class: "endpoints" }, h("thead", {}, head), h("tbody", {}, ...rows));
}

const portText = ({ port, name, protocol }: ServiceView["ports"][number]): string =>
  [String(port), protocol || "detected", name].filter((text) => text !== "").join("/");
