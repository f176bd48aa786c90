// Elements made by code: nothing here ever parses HTML, so what a host or an operator named cannot become markup.
export type Child = Node | string | undefined;
type Attributes = { readonly [name: string]: string | number | boolean | undefined };

export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  return filled(document.createElement(tag), attributes, children);
}

export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): SVGElementTagNameMap[K] {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled<E extends Element>(
  element: E,
  attributes: Attributes,
  children: readonly Child[],
): E {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

/** Changes what differs only: screen readers and selections are not disturbed. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}
export function setAttribute(element: Element, name: string, value: string): void {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** Children in the order of the items, each kept as long as its item stays, so that focus and scrolling survive. */
export class KeyedChildren<T, E extends Element> {
  readonly #parent: Element;
  readonly #make: (item: T) => { readonly element: E; update(item: T): void };
  #known = new Map<string, { readonly element: E; update(item: T): void }>();

  constructor(parent: Element, make: (item: T) => { readonly element: E; update(item: T): void }) {
    this.#parent = parent;
    this.#make = make;
  }

  show(items: readonly T[], keyOf: (item: T) => string): void {
    const now = new Map<string, { readonly element: E; update(item: T): void }>();
    let before: Element | null = null;
    for (const item of items) {
      const key = keyOf(item);
      const row = this.#known.get(key) ?? this.#make(item);
      row.update(item);
      now.set(key, row);
      const place: Element | null =
        before === null ? this.#parent.firstElementChild : before.nextElementSibling;
      if (place !== row.element) this.#parent.insertBefore(row.element, place);
      before = row.element;
    }
    for (const [key, row] of this.#known) if (now.get(key) !== row) row.element.remove();
    this.#known = now;
  }
}
