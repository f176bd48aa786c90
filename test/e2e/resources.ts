// What the mesh of these tests is told.
import { ADDRESS } from "../support/hosts.ts";
import { BACKEND, NOBODY, OUTSIDE, UID } from "./ports.ts";

const outside = (name: string, ports: readonly number[]): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${name} }
spec:
  hosts: [${name}.test]
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints:
${ports.map((port) => `    - { address: ${ADDRESS.c}, ports: { http: ${port} } }`).join("\n")}
---`;

const route = (name: string, rest: string): string => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ${name} }
spec:
  hosts: [${name}.test]
  http:
    - ${rest}
---`;

export const RESOURCES = `
apiVersion: ironmesh.dev/v1
kind: Workload
metadata: { name: backend, labels: { app: backend } }
spec:
  hosts: [b]
  serviceAccount: backend
  process: { uid: ${UID.backend} }
  services:
    - name: web
      ports:
        - { port: 80, targetPort: ${BACKEND.http}, protocol: HTTP }
        - { port: 81, targetPort: ${BACKEND.http} } # undeclared: the first bytes decide
        - { port: 82, targetPort: ${NOBODY}, protocol: HTTP }
    - name: limited
      ports: [{ port: 80, targetPort: ${BACKEND.http}, protocol: HTTP }]
    - name: raw
      ports:
        - { port: 9000, targetPort: ${BACKEND.echo}, protocol: TCP }
        - { port: 9001, targetPort: ${BACKEND.echo} }
        - { port: 9010, targetPort: ${BACKEND.banner}, protocol: TCP }
        - { port: 9011, targetPort: ${BACKEND.banner} }
        - { port: 9020, targetPort: ${BACKEND.counter}, protocol: TCP }
---
apiVersion: ironmesh.dev/v1
kind: Workload
metadata: { name: client, labels: { app: client } }
spec:
  hosts: [a]
  serviceAccount: client
  process: { uid: ${UID.client} }
---
apiVersion: ironmesh.dev/v1
kind: RateLimit
metadata: { name: backend }
spec:
  selector: { matchLabels: { app: backend } }
  limits:
    - name: rationed
      to: [{ operation: { paths: ["/rationed/*"] } }]
      by: { identity: true, header: x-user }
      requests: 6
      per: 1h
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: limited }
spec:
  host: limited
  trafficPolicy:
    connectionPool:
      tcp: { maxConnections: 2 }
      http: { http1MaxPendingRequests: 3 }
---${outside("retried", [OUTSIDE.nobody, OUTSIDE.fine])}${outside("once", [OUTSIDE.nobody])}${outside("shaky", [OUTSIDE.fine, OUTSIDE.failing])}
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: shaky }
spec:
  host: shaky.test
  trafficPolicy:
    loadBalancer: { simple: ROUND_ROBIN }
    outlierDetection: { consecutive5xxErrors: 3, baseEjectionTime: 60s, maxEjectionPercent: 50 }
---${route(
  "shaky",
  `route: [{ destination: { host: shaky.test } }]
      retries: { attempts: 0 }`,
)}${route(
  "once",
  `route: [{ destination: { host: once.test } }]
      retries: { attempts: 0 }`,
)}${outside("slow", [OUTSIDE.fine])}${route(
  "slow",
  `timeout: 0.3s
      route: [{ destination: { host: web, port: { number: 80 } } }]`,
)}${outside("narrow", [OUTSIDE.fine])}${route(
  "narrow",
  `match: [{ uri: { prefix: /only } }]
      route: [{ destination: { host: web, port: { number: 80 } } }]`,
)}${outside("empty", [OUTSIDE.fine])}
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: empty }
spec:
  host: empty.test
  subsets: [{ name: nobody, labels: { version: none } }]
---${route("empty", "route: [{ destination: { host: empty.test, subset: nobody } }]")}
`;
