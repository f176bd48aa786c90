// The redirect: as planned, and nobody before it.
import type { Facts } from "../facts.ts";
import { type Finding, tellerOf } from "../finding.ts";
import { rivalsOf } from "./rivals.ts";

const { ok, warning, error, unseen } = tellerOf("redirect");
const LINES_MAX = 8;

export function checkRedirect(facts: Facts): readonly Finding[] {
  if (facts.options.redirect === "none") return [ok("rules", "not wanted here (--redirect none)")];
  return [...state(facts), ...trial(facts), ...rivals(facts)];
}

function state({ redirect }: Facts): readonly Finding[] {
  if (redirect === undefined) return [];
  if (!redirect.ok) return [unseen("rules", "the redirect", redirect.error)];
  const { value } = redirect;
  switch (value.is) {
    case "done":
      return [ok("rules", value.text)];
    case "failed":
      return [
        error(
          "rules",
          value.reason,
          "mend it; the agent applies it with the next version, `meshctl redirect apply` at once",
        ),
      ];
    case "differences": {
      const lines = value.lines.slice(0, LINES_MAX).join("; ");
      const more = value.lines.length - LINES_MAX;
      return [
        error(
          "rules",
          `not as planned: ${lines}${more > 0 ? `; and ${more} more` : ""}`,
          "meshctl redirect apply",
        ),
      ];
    }
  }
}

function trial({ trial: tried }: Facts): readonly Finding[] {
  if (tried === undefined) return [];
  if (!tried.ok) return [unseen("trial", "whether the redirect works here", tried.error)];
  const { value } = tried;
  switch (value.is) {
    case "works":
      return [
        ok(
          "trial",
          `a redirect by ${value.backend} works on this kernel (tried in an empty network)`,
        ),
      ];
    case "fails":
      return [
        error(
          "trial",
          `the redirect does not work here: ${value.reason}`,
          "mend it before joining",
        ),
      ];
    case "not_tried":
      return [
        warning(
          "trial",
          `whether the redirect works here could not be tried: ${value.reason}`,
          "join tells",
        ),
      ];
  }
}

const rivals = ({ firewall }: Facts): readonly Finding[] => {
  if (!firewall.ok) return [unseen("order", "whose rules come before ours", firewall.error)];
  return rivalsOf(firewall.value).map(({ where, rule, next }) =>
    warning("order", `${where}: a rule before ours may take the mesh's traffic: ${rule}`, next),
  );
};
