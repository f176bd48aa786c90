// What an agent needs on a systemd host, as text carried inside the executable: one file is enough to install it. The folder
// systemd/ is the only source; the Ansible roles copy the same files.
// The bundler hands over a file's text, which the type checker does not know of these names: hence the expected errors.

// @ts-expect-error text, not module
import agentUnit from "../../systemd/ironmesh-agent.service" with { type: "text" };
// @ts-expect-error text, not module
import agentSysusers from "../../systemd/ironmesh-agent.sysusers.conf" with { type: "text" };
// @ts-expect-error text, not module
import agentTmpfiles from "../../systemd/ironmesh-agent.tmpfiles.conf" with { type: "text" };
// @ts-expect-error text, not module
import redirectUnit from "../../systemd/ironmesh-redirect.service" with { type: "text" };

export const EXECUTABLE = "/usr/local/bin/meshctl";
export const AGENT_CONFIG = "/etc/ironmesh/agent.conf";
export const AGENT_UNIT = "ironmesh-agent.service";
export const REDIRECT_UNIT = "ironmesh-redirect.service";
/** Whoever runs it needs the executable after the agent has left. */
export const SERVER_UNIT_FILE = "/etc/systemd/system/ironmesh-server.service";
export const AGENT_USER = "ironmesh";
export const SYSUSERS = "/etc/sysusers.d/ironmesh-agent.conf";
export const TMPFILES = "/etc/tmpfiles.d/ironmesh-agent.conf";

export interface UnitFile {
  readonly path: string;
  /** Its name in systemd/. */
  readonly source: string;
  readonly text: string;
}

export const AGENT_FILES: readonly UnitFile[] = [
  {
    path: `/etc/systemd/system/${AGENT_UNIT}`,
    source: "ironmesh-agent.service",
    text: agentUnit,
  },
  {
    path: `/etc/systemd/system/${REDIRECT_UNIT}`,
    source: "ironmesh-redirect.service",
    text: redirectUnit,
  },
  { path: SYSUSERS, source: "ironmesh-agent.sysusers.conf", text: agentSysusers },
  { path: TMPFILES, source: "ironmesh-agent.tmpfiles.conf", text: agentTmpfiles },
];

/** Begins empty: every default is the agent's own. */
export const AGENT_CONFIG_TEXT = `# Options of this host's agent, one a line, as \`meshctl agent --help\` lists them but without the dashes:
#   access-log errors
# Check with \`meshctl agent --check-config ${AGENT_CONFIG}\`; then \`systemctl restart ${AGENT_UNIT}\`.
`;
