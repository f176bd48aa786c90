// Why a connection was refused where no policy decided: in a sentence, with what to do.
import type { DecisionAnswer } from "../api/decisions.ts";

type Words = Pick<DecisionAnswer, "reason" | "next">;

/** Of a refusal that no policy made. */
export function refusalText(word: string): Words {
  const found = REFUSALS.get(word);
  return found ?? { reason: `it was refused: ${word}`, next: "docs/operating.md tells the words" };
}

/** By the words of `ironmesh_connections_refused_total` and `ironmesh_mesh_refused_total`. */
const REFUSALS: ReadonlyMap<string, Words> = new Map([
  [
    "no_snapshot",
    {
      reason: "the agent had no configuration yet",
      next: "`meshctl status --agent` there says whether it reaches its server",
    },
  ],
  [
    "too_many",
    {
      reason: "the agent had all the connections it may have",
      next: "raise `--connections-max`, or look who holds them",
    },
  ],
  [
    "not_declared",
    {
      reason: "no Workload of the host declares that port",
      next: "declare it in the Workload's `services`; `meshctl get workloads` shows what there is",
    },
  ],
  [
    "no_service",
    {
      reason: "no service has that virtual address",
      next: "was the service deleted? callers must look its name up again",
    },
  ],
  [
    "no_route",
    {
      reason: "no route leads to where the connection was going",
      next: "`meshctl config routes` on the caller's host shows which there are, of TLS by server name; with outboundPolicy registry_only what is outside needs a ServiceEntry",
    },
  ],
  [
    "not_tls",
    {
      reason:
        "its port is routed or admitted by the server name of TLS, and the client began with something else, or with no ClientHello that a strict reader takes",
      next: "does the client speak TLS there? if the port is for something else, declare it TCP",
    },
  ],
  [
    "hello_timeout",
    {
      reason:
        "its port is routed or admitted by the server name of TLS, and the client's ClientHello did not come in time",
      next: "a protocol in which the server speaks first cannot be on such a port: declare it TCP",
    },
  ],
  [
    "no_healthy_upstream",
    {
      reason: "no endpoint was left to go to",
      next: "`meshctl config endpoints` on the caller's host, and `meshctl members`",
    },
  ],
  [
    "overflow",
    {
      reason: "the DestinationRule's limit of connections was reached",
      next: "raise connectionPool.tcp.maxConnections, or look who holds them",
    },
  ],
  [
    "registry_only",
    {
      reason: "outboundPolicy is registry_only, and the host that was asked for is not in the mesh",
      next: "apply a ServiceEntry for it",
    },
  ],
  [
    "untrusted_issuer",
    {
      reason: "the caller's certificate is of another CA",
      next: "has its host joined this mesh? `meshctl join` there with a token of this server",
    },
  ],
  [
    "expired",
    {
      reason: "the caller's certificate has expired, or is not valid yet",
      next: "`meshctl check` on the caller's host: is its clock right, does it reach the config server? `meshctl renew` there",
    },
  ],
  [
    "no_certificate",
    {
      reason: "the caller showed no certificate at the mesh port",
      next: "it is no agent of the mesh: other hosts call the app's own port, where PeerAuthentication decides",
    },
  ],
  [
    "not_spiffe",
    {
      reason: "the caller's certificate names no SPIFFE ID, or several",
      next: "it is none that the mesh's CA has issued: look who made it",
    },
  ],
  [
    "no_server_name",
    { reason: "the caller named no server", next: "it is no agent of the mesh, or a port scan" },
  ],
  [
    "overloaded",
    {
      reason:
        "more new connections came than this host makes handshakes: it waited 2 s for its turn",
      next: "give the agent more threads (`meshctl agent --workers`), or let callers keep their connections",
    },
  ],
  [
    "ambiguous_identity",
    {
      reason:
        "a peer of HBONE named no server, and the workloads of this host have more identities than one: none could be shown to it",
      next: "let it send the server name of the workload's port as SNI (docs/operating.md), or give the workload a host, or an account, of its own",
    },
  ],
  [
    "authority_invalid",
    {
      reason: "a peer of HBONE asked for something else than an IP address and port",
      next: "dial the workload's address and port: names are resolved where the caller is",
    },
  ],
  [
    "another_identity",
    {
      reason: "a peer of HBONE asked, speaking with one workload, for the port of another",
      next: "dial that one by a connection of its own, with its server name as SNI (docs/operating.md)",
    },
  ],
  [
    "unknown_server_name",
    {
      reason: "the caller asked for a workload or port that this host does not serve",
      next: "was the Workload moved or changed? `meshctl status`: does the caller's agent run the newest version?",
    },
  ],
  [
    "no_alpn",
    {
      reason: "the caller offered no protocol of the mesh",
      next: "it is no agent of the mesh, or of a version that speaks another wire",
    },
  ],
  [
    "tls_error",
    {
      reason: "the TLS handshake failed",
      next: "what does the caller's agent log? the mesh speaks TLS 1.3 only",
    },
  ],
  [
    "listener_dialled",
    {
      reason:
        "a listener of the agent itself was dialled: a loop, or an attempt to borrow a workload's identity",
      next: "dial the service by its name; the agent's own ports (docs/operating.md) serve redirected connections only",
    },
  ],
]);
