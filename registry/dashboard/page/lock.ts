// The lock of an edge: shut where all of it went by mutual TLS, open where some or none did, nothing where nothing was sent.
import type { EdgeView } from "../../../agent/api/edges.ts";
import { setAttribute, svg } from "./dom.ts";
import { LOCK_WORDS } from "./format.ts";

const SHUT = "M3.5 6V4.2a2.5 2.5 0 0 1 5 0V6";
const OPEN = "M3.5 6V3.6a2.5 2.5 0 0 1 4.9-.7";

/** 12 by 14. */
export function lock(): { readonly element: SVGGElement; show(mtls: EdgeView["mtls"]): void } {
  const bow = svg("path", { class: "bow" });
  const element = svg(
    "g",
    { class: "lock", role: "img" },
    bow,
    svg("rect", { class: "body", x: 1.5, y: 6, width: 9, height: 7, rx: 1.6 }),
  );
  return {
    element,
    show: (mtls) => {
      setAttribute(element, "data-mtls", mtls);
      setAttribute(element, "aria-label", LOCK_WORDS[mtls]);
      setAttribute(bow, "d", mtls === "all" ? SHUT : OPEN);
    },
  };
}

/** The same beside text. */
export function lockIcon(): {
  readonly element: SVGSVGElement;
  show(mtls: EdgeView["mtls"]): void;
} {
  const { element, show } = lock();
  return {
    element: svg(
      "svg",
      { class: "lock-icon", viewBox: "0 0 12 14", width: 12, height: 14 },
      element,
    ),
    show,
  };
}
