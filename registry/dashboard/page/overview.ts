// The side panel as long as nothing is chosen: what is wrong, by name, and every edge in a table that tells all the drawing does.
import type { EdgeView, GraphView, NodeView } from "../../../agent/api/edges.ts";
import { h, KeyedChildren, setAttribute, setText } from "./dom.ts";
import { HEALTH_WORDS, msText, nameOf, rateText, successText } from "./format.ts";
import { lockIcon } from "./lock.ts";

export interface OverviewEvents {
  onSelect(node: NodeView): void;
}

export class Overview {
  readonly element: HTMLElement;
  readonly #troubles: KeyedChildren<EdgeView, HTMLElement>;
  readonly #rows: KeyedChildren<EdgeView, HTMLElement>;
  readonly #calm = h("p", { class: "calm" });
  readonly #notes = h("p", { class: "notes" });
  readonly #table: HTMLElement;
  #nodes = new Map<string, NodeView>();

  constructor(events: OverviewEvents) {
    const list = h("ul", { class: "troubles" });
    const body = h("tbody");
    const choose = (id: string): void => {
      const node = this.#nodes.get(id);
      if (node !== undefined) events.onSelect(node);
    };
    const name = (id: string): string => {
      const node = this.#nodes.get(id);
      return node === undefined ? id : nameOf(node);
    };
    this.#troubles = new KeyedChildren(list, (edge) => troubleItem(edge, name, choose));
    this.#rows = new KeyedChildren(body, (edge) => edgeRow(edge, name, choose));
    this.#table = h(
      "table",
      { class: "edges" },
      h("caption", {}, "Who calls whom"),
      h("thead", {}, h("tr", {}, ...COLUMNS.map((text) => h("th", { scope: "col" }, text)))),
      body,
    );
    this.element = h(
      "div",
      { class: "overview" },
      h("h2", {}, "What is wrong"),
      this.#calm,
      list,
      h("h2", {}, "Traffic"),
      this.#table,
      this.#notes,
    );
  }

  show(graph: GraphView): void {
    this.#nodes = new Map(graph.nodes.map((node) => [node.id, node]));
    const troubled = graph.edges.filter(({ problem }) => problem !== undefined);
    this.#troubles.show(troubled, ({ id }) => id);
    this.#calm.hidden = troubled.length > 0;
    setText(
      this.#calm,
      graph.edges.length === 0
        ? "No traffic was reported yet. Agents tell every five seconds of what goes through them."
        : "Nothing. Every edge with traffic is well.",
    );
    this.#table.hidden = graph.edges.length === 0;
    this.#rows.show(graph.edges, ({ id }) => id);
    setText(this.#notes, notesOf(graph));
  }
}

const COLUMNS = ["From", "To", "Rate", "Success", "p95", "mTLS"];

type NameOf = (id: string) => string;
type Choose = (id: string) => void;

function troubleItem(edge: EdgeView, name: NameOf, choose: Choose) {
  const names = h("strong");
  const problem = h("span", { class: "problem" });
  const state = h("span", { class: "state" });
  const button = h(
    "button",
    { type: "button" },
    h("span", { class: "row" }, names, state),
    problem,
  );
  button.addEventListener("click", () => choose(edge.destination));
  const element = h("li", {}, button);
  const update = (now: EdgeView): void => {
    setAttribute(element, "data-health", now.health);
    setText(names, `${name(now.source)} → ${name(now.destination)}`);
    setText(state, HEALTH_WORDS[now.health]);
    setText(problem, now.problem ?? "");
  };
  return { element, update };
}

function edgeRow(edge: EdgeView, name: NameOf, choose: Choose) {
  const [from, to] = [edge.source, edge.destination].map((id) => {
    const button = h("button", { type: "button", class: "link" });
    button.addEventListener("click", () => choose(id));
    return button;
  });
  const [rate, success, p95] = [h("td"), h("td"), h("td")];
  const icon = lockIcon();
  const cells = [h("td", {}, from), h("td", {}, to), rate, success, p95, h("td", {}, icon.element)];
  const element = h("tr", {}, ...cells);
  const update = (now: EdgeView): void => {
    setAttribute(element, "data-health", now.health);
    if (from !== undefined) setText(from, name(now.source));
    if (to !== undefined) setText(to, name(now.destination));
    const isIdle = now.health === "idle";
    setText(rate, isIdle ? "–" : rateText(now.figures));
    setText(success, successText(now.figures));
    setText(p95, msText(now.figures.p95Ms));
    icon.show(now.mtls);
  };
  return { element, update };
}

function notesOf({ notes }: GraphView): string {
  const { omitted, evicted, refused } = notes;
  const parts: string[] = [];
  if (omitted > 0)
    parts.push(
      `${omitted} requests and connections belong to edges that agents could not itemise.`,
    );
  if (evicted > 0) parts.push(`${evicted} edges were dropped: the history was full.`);
  for (const [reason, count] of Object.entries(refused))
    parts.push(
      `${count} samples were refused (${reason.replaceAll("_", " ")}): the server's log names the host.`,
    );
  return parts.join(" ");
}
