// The config server, as this host reaches it.
import { agentOf, type Facts, filesOf, hasJoined } from "../facts.ts";
import { AS_ROOT, type Finding, tellerOf } from "../finding.ts";
import type { ServerFacts } from "../reading/server.ts";

const { ok, warning, error, unseen } = tellerOf("server");

export function checkServer(facts: Facts): readonly Finding[] {
  const { servers } = facts;
  if (servers.length === 0) {
    if (facts.files?.ok === false) return [unseen("reach", "the config server", facts.files.error)];
    return [
      hasJoined(facts)
        ? warning("reach", "this host's files name no config server", "meshctl join TOKEN")
        : ok(
            "reach",
            "which server is not known before joining; `meshctl check --token TOKEN` looks at it",
          ),
    ];
  }
  const oneAnswers = servers.some(({ outcome }) => outcome.is === "answered");
  return [
    ...token(facts),
    ...servers.flatMap((one) => judge(one, oneAnswers, facts)),
    ...session(facts),
  ];
}

function token({ token, nowMs }: Facts): readonly Finding[] {
  if (token === undefined) return [];
  const left = token.expiresAtMs - nowMs;
  return left > 0
    ? [
        ok(
          "token",
          `the token is for host ${token.host}, for another ${Math.round(left / 60_000)} min`,
        ),
      ]
    : [
        error(
          "token",
          "the token has expired",
          `meshctl token create --host ${token.host} # an operator makes a new one`,
        ),
      ];
}

function judge(
  { url, outcome }: ServerFacts,
  oneAnswers: boolean,
  facts: Facts,
): readonly Finding[] {
  switch (outcome.is) {
    case "unreachable":
      return [(oneAnswers ? warning : error)("reach", `${url}: ${outcome.why}`, reachText(url))];
    case "not_trusted":
      return [
        error(
          "trust",
          `${url} is not the config server this host believes: ${outcome.why}`,
          outcome.validMs === undefined
            ? "if the mesh's CA was made anew, join again with a new token; if not, somebody else answers there"
            : "set the clock first: see below",
        ),
      ];
    case "answered": {
      const { self, refusal } = outcome;
      if (self !== undefined)
        return [
          ok("reach", `${url} knows this host as ${self.host}`),
          ...skew(self.serverVersion, facts),
        ];
      // Without a certificate there is nobody to be known.
      if (filesOf(facts)?.own === undefined || facts.token !== undefined)
        return facts.files?.ok === false
          ? [unseen("accepted", "whether the server takes this host", AS_ROOT)]
          : [ok("reach", `${url} answers and is proven`)];
      return [
        error(
          "accepted",
          `${url} does not take this host for a member: ${refusal}`,
          "meshctl join TOKEN # with a new one: meshctl token create --host HOST",
        ),
      ];
    }
  }
}

function reachText(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return `is it running, and open from here? nc -vz ${url?.hostname ?? text} ${url?.port || 15_010}`;
}

/** Servers are upgraded before agents. */
function skew(server: string, facts: Facts): readonly Finding[] {
  const agent = agentOf(facts)?.status.agentVersion ?? facts.version;
  return server === agent
    ? [ok("version", `server and agent are both ${agent}`)]
    : [
        warning(
          "version",
          `the server runs ${server}, this host ${agent}`,
          "bring both to one version, the server first",
        ),
      ];
}

function session(facts: Facts): readonly Finding[] {
  const server = agentOf(facts)?.status.server;
  if (server === undefined || server.isConnected) return [];
  return [
    error(
      "session",
      `the agent has no session with ${server.url}: ${server.lastError ?? "it is trying"}; traffic goes on with the last good version`,
      "mend what stands above; it connects again by itself within 10 s",
    ),
  ];
}
