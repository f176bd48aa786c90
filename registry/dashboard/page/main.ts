// The page: a login, then a live view of the mesh. It asks for nothing but what its own server serves.
import type { GraphView, LiveView, NodeView } from "../../../agent/api/edges.ts";
import { Detail } from "./detail.ts";
import { h, setAttribute, setText } from "./dom.ts";
import { nameOf } from "./format.ts";
import { GraphDrawing } from "./graph.ts";
import { loginForm } from "./login.ts";
import { Overview } from "./overview.ts";
import { Live, logOut, type Session, service, session } from "./server.ts";

const WINDOWS: readonly (readonly [seconds: number, name: string])[] = [
  [60, "Last minute"],
  [300, "Last 5 minutes"],
  [900, "Last 15 minutes"],
  [3_600, "Last hour"],
];
/** What is stored of a chosen service is asked for again this often. */
const STORED_AGAIN_MS = 10_000;

class MeshPage {
  readonly element: HTMLElement;
  readonly #session: Session;
  readonly #live: Live;
  readonly #drawing = new GraphDrawing({ onSelect: (node) => this.#choose(node) });
  readonly #overview = new Overview({ onSelect: (node) => this.#choose(node) });
  readonly #side = h("aside", { class: "side", "aria-label": "Details" }, this.#overview.element);
  readonly #sentence = h("p", { class: "sentence", role: "status" });
  readonly #pulse = h("span", { class: "pulse" });
  readonly #hosts = h("span", { class: "hosts" });
  readonly #empty = h("div", { class: "empty", hidden: true });
  #detail: Detail | undefined;
  #graph: GraphView | undefined;
  #storedAtMs = 0;

  constructor(found: Session, onOver: (reason?: string) => void) {
    this.#session = found;
    const stage = h("section", { class: "stage" }, this.#drawing.element, this.#empty);
    this.element = h("div", { class: "mesh" }, this.#bar(onOver), h("main", {}, stage, this.#side));
    this.#live = new Live(found, WINDOWS[0]?.[0] ?? 60, {
      onView: (view) => this.#show(view),
      onLost: () => this.#lost(),
      onLoggedOut: () => {
        this.#live.close();
        onOver("Your session is over: log in again.");
      },
    });
    addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#detail !== undefined) this.#choose(undefined);
    });
  }

  #bar(onOver: () => void): HTMLElement {
    const search = h("input", {
      type: "search",
      placeholder: "Find a service",
      "aria-label": "Find a service",
    });
    search.addEventListener("input", () => this.#drawing.search(search.value));
    const options = WINDOWS.map(([seconds, name]) => h("option", { value: seconds }, name));
    const select = h("select", { "aria-label": "Time window" }, ...options);
    select.addEventListener("change", () => {
      this.#live.window = Number(select.value);
    });
    const out = h("button", { type: "button", class: "quiet-button" }, "Log out");
    out.addEventListener("click", () => {
      this.#live.close();
      logOut(this.#session).then(
        () => onOver(),
        () => onOver(),
      );
    });
    return h(
      "header",
      { class: "bar" },
      h("img", { src: "/dashboard/icon.svg", alt: "", width: 28, height: 28 }),
      h("h1", {}, "Ironmesh"),
      this.#sentence,
      h("span", { class: "grow" }),
      search,
      select,
      h("span", { class: "liveness" }, this.#pulse, this.#hosts),
      h("span", { class: "who" }, this.#session.operator),
      out,
    );
  }

  #show({ graph, mesh }: LiveView): void {
    this.#graph = graph;
    this.element.classList.remove("stale");
    setText(this.#hosts, `${mesh.connected}/${mesh.hosts} hosts, version ${mesh.version}`);
    setAttribute(this.#pulse, "data-health", mesh.connected < mesh.hosts ? "degraded" : "ok");
    const { text, health } = sentenceOf(graph);
    setText(this.#sentence, text);
    setAttribute(this.#sentence, "data-health", health);
    document.title = health === "failing" ? `✕ ${text}` : "Ironmesh";
    this.#drawing.show(graph);
    this.#overview.show(graph);
    this.#detail?.show(graph);
    if (this.#detail !== undefined && Date.now() - this.#storedAtMs > STORED_AGAIN_MS)
      this.#loadStored(this.#detail);
    this.#showEmpty(graph);
  }

  #showEmpty({ nodes, edges }: GraphView): void {
    const isEmpty = edges.length === 0;
    this.#empty.hidden = !isEmpty;
    if (!isEmpty) return;
    const [title, next] =
      nodes.length === 0
        ? ["No service is declared yet", "meshctl apply -f workloads.yaml"]
        : ["No traffic was reported yet", "meshctl status"];
    this.#empty.replaceChildren(
      h("h2", {}, title),
      h(
        "p",
        {},
        nodes.length === 0
          ? "Declare a Workload, and what it serves shows up here:"
          : "Agents tell every five seconds of what goes through them. Are they connected?",
      ),
      h("code", {}, next),
    );
  }

  #lost(): void {
    this.element.classList.add("stale");
    setText(this.#sentence, "The server does not answer; shown is what it said last");
    setAttribute(this.#sentence, "data-health", "degraded");
    setAttribute(this.#pulse, "data-health", "failing");
  }

  #choose(node: NodeView | undefined): void {
    this.#drawing.select(node?.id);
    if (node === undefined) {
      this.#detail = undefined;
      this.#side.replaceChildren(this.#overview.element);
      return;
    }
    const detail = new Detail(node, {
      onClose: () => this.#choose(undefined),
      onSelect: (other) => this.#choose(other),
    });
    this.#detail = detail;
    if (this.#graph !== undefined) detail.show(this.#graph);
    this.#side.replaceChildren(detail.element);
    this.#side.scrollTop = 0;
    detail.focus();
    if (node.kind === "service") this.#loadStored(detail);
  }

  #loadStored(detail: Detail): void {
    if (!detail.id.startsWith("service/")) return;
    this.#storedAtMs = Date.now();
    service(detail.id.slice("service/".length)).then(
      (view) => detail.showStored(view, Date.now()),
      () => undefined, // the bar says that the server does not answer
    );
  }
}

/** The whole mesh in one sentence: what fails, by name. */
function sentenceOf({ nodes, edges }: GraphView): { text: string; health: string } {
  const name = (id: string): string => {
    const node = nodes.find((one) => one.id === id);
    return node === undefined ? id : nameOf(node);
  };
  const busy = edges.filter(({ health }) => health !== "idle");
  for (const health of ["failing", "degraded"] as const) {
    const [first, ...more] = busy.filter((edge) => edge.health === health);
    if (first === undefined) continue;
    const others = more.length === 0 ? "" : ` and ${more.length} more`;
    const verb = more.length === 0 ? "is" : "are";
    return {
      text: `${name(first.source)} → ${name(first.destination)}${others} ${verb} ${health}`,
      health,
    };
  }
  if (busy.length === 0) return { text: "No traffic", health: "idle" };
  return {
    text: busy.length === 1 ? "The one edge is well" : `All ${busy.length} edges are well`,
    health: "ok",
  };
}

function start(): void {
  const root = document.getElementById("page");
  if (root === null) throw new Error("the page has no root");
  const enter = (found: Session): void => {
    root.replaceChildren(new MeshPage(found, leave).element);
  };
  const leave = (reason?: string): void => root.replaceChildren(loginForm(enter, reason));
  session().then(
    (found) => (found === undefined ? leave() : enter(found)),
    () => leave("The server does not answer."),
  );
}

start();
