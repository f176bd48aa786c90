// Moving and zooming the drawing: drag, wheel, pinch by the browser's wheel events, keys and buttons. Fits by itself until moved.
import { h, setAttribute, svg } from "./dom.ts";

const ZOOM_MAX = 2.5;
const ZOOM_MIN = 0.02;
/** Not larger than life: two services must not fill the wall. */
const FIT_ZOOM_MAX = 1.15;
const STEP = 60;

export class Viewport {
  readonly root: SVGSVGElement;
  readonly content = svg("g");
  readonly controls: HTMLElement;
  #width = 1;
  #height = 1;
  #x = 0;
  #y = 0;
  #zoom = 1;
  #isMoved = false;
  #dragged: { x: number; y: number; id: number } | undefined;

  constructor(label: string) {
    this.root = svg("svg", { class: "graph", role: "group", "aria-label": label }, this.content);
    this.controls = h(
      "div",
      { class: "zoom", role: "group", "aria-label": "Zoom" },
      this.#button("Zoom in", "+", () => this.#zoomBy(1.25)),
      this.#button("Zoom out", "−", () => this.#zoomBy(0.8)),
      this.#button("Fit all", "⤢", () => this.fit()),
    );
    this.root.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.root.addEventListener("pointerdown", (event) => this.#grab(event));
    this.root.addEventListener("pointermove", (event) => this.#drag(event));
    for (const over of ["pointerup", "pointercancel"] as const)
      this.root.addEventListener(over, () => {
        this.#dragged = undefined;
      });
    new ResizeObserver(() => (this.#isMoved ? this.#apply() : this.fit())).observe(this.root);
  }

  get size(): { width: number; height: number } {
    const { clientWidth, clientHeight } = this.root;
    return { width: clientWidth || innerWidth, height: clientHeight || innerHeight };
  }

  /** Size of what is drawn. */
  show(width: number, height: number): void {
    this.#width = Math.max(1, width);
    this.#height = Math.max(1, height);
    if (!this.#isMoved) this.fit();
  }

  fit(): void {
    this.frame(0, 0, this.#width, this.#height);
    this.#isMoved = false;
  }

  /** Brings this part of the drawing into the middle, as large as fits. */
  frame(x: number, y: number, width: number, height: number): void {
    const { clientWidth, clientHeight } = this.root;
    const zoom = Math.min(clientWidth / width, clientHeight / height, FIT_ZOOM_MAX);
    this.#zoom = zoom;
    this.#x = clientWidth / 2 - (x + width / 2) * this.#zoom;
    this.#y = clientHeight / 2 - (y + height / 2) * this.#zoom;
    this.#isMoved = true;
    this.#apply();
  }

  key(event: KeyboardEvent): void {
    const steps: Record<string, readonly [number, number]> = {
      ArrowLeft: [STEP, 0],
      ArrowRight: [-STEP, 0],
      ArrowUp: [0, STEP],
      ArrowDown: [0, -STEP],
    };
    const step = steps[event.key];
    if (step !== undefined) this.#moveBy(...step);
    else if (event.key === "+" || event.key === "=") this.#zoomBy(1.25);
    else if (event.key === "-") this.#zoomBy(0.8);
    else if (event.key === "0") this.fit();
    else return;
    event.preventDefault();
  }

  #button(label: string, sign: string, run: () => void): HTMLButtonElement {
    const button = h("button", { type: "button", title: label, "aria-label": label }, sign);
    button.addEventListener("click", run);
    return button;
  }

  #wheel(event: WheelEvent): void {
    event.preventDefault();
    const { left, top } = this.root.getBoundingClientRect();
    this.#zoomBy(Math.exp(-event.deltaY / 500), event.clientX - left, event.clientY - top);
  }

  #grab(event: PointerEvent): void {
    if (event.button !== 0 || (event.target as Element).closest("[role=button]") !== null) return;
    this.#dragged = { x: event.clientX, y: event.clientY, id: event.pointerId };
    this.root.setPointerCapture(event.pointerId);
  }

  #drag(event: PointerEvent): void {
    const from = this.#dragged;
    if (from?.id !== event.pointerId) return;
    this.#moveBy(event.clientX - from.x, event.clientY - from.y);
    this.#dragged = { x: event.clientX, y: event.clientY, id: event.pointerId };
  }

  #moveBy(dx: number, dy: number): void {
    this.#x += dx;
    this.#y += dy;
    this.#isMoved = true;
    this.#apply();
  }

  #zoomBy(factor: number, atX = this.root.clientWidth / 2, atY = this.root.clientHeight / 2): void {
    const zoom = Math.min(ZOOM_MAX, Math.max(ZOOM_MIN, this.#zoom * factor));
    this.#x = atX - ((atX - this.#x) * zoom) / this.#zoom;
    this.#y = atY - ((atY - this.#y) * zoom) / this.#zoom;
    this.#zoom = zoom;
    this.#isMoved = true;
    this.#apply();
  }

  #apply(): void {
    const place = `translate(${this.#x.toFixed(1)} ${this.#y.toFixed(1)}) scale(${this.#zoom.toFixed(4)})`;
    setAttribute(this.content, "transform", place);
  }
}
