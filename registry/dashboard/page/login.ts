// The way in: an operator's token, sent once; what stays is a cookie that no script can read.
import { h, setText } from "./dom.ts";
import { logIn, type Session } from "./server.ts";

export function loginForm(onSession: (session: Session) => void, reason?: string): HTMLElement {
  const token = h("input", {
    id: "token",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    "aria-describedby": "told",
  });
  const told = h("p", { id: "told", class: "told", role: "alert" }, reason);
  const button = h("button", { type: "submit", class: "primary" }, "Log in");
  const form = h(
    "form",
    { class: "login" },
    h("img", { src: "/dashboard/icon.svg", alt: "", width: 48, height: 48 }),
    h("h1", {}, "Ironmesh"),
    h("p", { class: "notes" }, "Who calls whom, how well, and whether it is encrypted."),
    h("label", { for: "token" }, "Operator token"),
    token,
    button,
    told,
    h(
      "p",
      { class: "notes" },
      "The first one lies on the server, in ",
      h("code", {}, "operator-token"),
      " of its state directory.",
    ),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    button.disabled = true;
    logIn(token.value).then(
      (answer) => {
        button.disabled = false;
        if (typeof answer !== "string") onSession(answer);
        else {
          setText(told, answer);
          token.select();
        }
      },
      () => {
        button.disabled = false;
        setText(told, "the server does not answer");
      },
    );
  });
  queueMicrotask(() => token.focus());
  return h("main", { class: "door" }, form);
}
