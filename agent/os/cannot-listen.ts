/** A listener could not be opened. The message names the address and what to do. */
export class CannotListen extends Error {
  /** As the kernel says it: EADDRINUSE. */
  readonly code: string;

  constructor(address: string, port: number, code: string) {
    const where = address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
    super(`cannot listen on ${where}: ${code}; ${nextFor(code, port)}`);
    this.code = code;
  }
}

function nextFor(code: string, port: number): string {
  if (code === "EACCES") return "the agent needs CAP_NET_BIND_SERVICE";
  if (code === "EPERM") return "the agent needs CAP_NET_ADMIN for transparent sockets";
  if (code !== "EADDRINUSE") return "is the address on this host?";
  return `another process has port ${port}: stop it (\`ss -ltnp 'sport = :${port}'\` names it) and start the agent again`;
}
