// TLS of local processes, carried as it comes: the ClientHello's server name chooses the route, and for what is dialled by an address
// that the mesh does not know, the service. https://istio.io/latest/docs/reference/config/networking/virtual-service/#TLSRoute
import type { OriginalDestination, Stream } from "../base/net.ts";
import type { DataPlane } from "./data-plane.ts";
import { type Destined, destinedFor } from "./destined.ts";
import type { ClientView, MeshView } from "./mesh-view.ts";
import { carryOutboundTcp } from "./outbound-tcp.ts";
import { type Heard, hearServerName } from "./server-name.ts";

/** Is it worth a look at the ClientHello? Of what was dialled by an endpoint's address it would change nothing. */
export function isTls(view: MeshView, destined: Destined, { port }: OriginalDestination): boolean {
  if (destined.is === "service") return destined.port.isTls === true;
  return destined.is === "stranger" && view.isTlsPort(port);
}

export function carryOutboundTls(
  plane: DataPlane,
  client: ClientView,
  destined: Destined,
  stream: Stream,
  original: OriginalDestination,
): void {
  const place = `to ${original.address} ${original.port}`;
  const isNeeded = hangsOnName(client, destined);
  hearServerName(stream, plane.context, { place, isNeeded }, (heard, spoke) => {
    const { view = client.mesh } = plane; // a swap may have come meanwhile
    const now = view === client.mesh ? client : view.clientOf(client);
    const meant = meantBy(view, heard, original);
    const serverName = heard.is === "hello" ? heard.serverName : undefined;
    if (heard.is === "hello" || !hangsOnName(now, meant))
      carryOutboundTcp(plane, now, meant, stream, original, { spoke, serverName });
    else {
      const service = meant.is === "service" ? meant.service.host : undefined;
      plane.refuse(stream, heard.is, { destination: original, identity: now.identity, service });
    }
  });
}

/** There is no way for a connection whose name is not known. */
function hangsOnName({ mesh, workload }: ClientView, destined: Destined): boolean {
  if (destined.is === "stranger") return mesh.snapshot.outboundPolicy === "registry_only";
  return destined.is === "service" && mesh.tables.tlsRoutesFor(workload, destined.port).length > 0;
}

/** What was dialled, if the mesh knows it; else what the client asks for by name, if it knows that. */
function meantBy(view: MeshView, heard: Heard, original: OriginalDestination): Destined {
  const destined = destinedFor(view, original);
  if (destined.is !== "stranger" || heard.is !== "hello" || heard.serverName === undefined)
    return destined;
  const at = view.tables.serviceByServerName(heard.serverName, original.port);
  const service = at && view.snapshot.services[at.service];
  const port = at && service?.ports[at.portIndex];
  return service === undefined || port === undefined ? destined : { is: "service", service, port };
}
