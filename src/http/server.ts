import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { Http2ServerRequest } from 'node:http2';
import type { Socket } from 'node:net';
import { getRequestListener, RequestError } from '@hono/node-server';
import type { Logger } from 'pino';
import type { Config } from '../config.ts';
import type { Service } from '../service.ts';
import { createApp } from './app.ts';
import { answerConnectionErrors, answerWithoutApp } from './connection_errors.ts';
import { type BodyPace, endSlowBodies } from './slow_bodies.ts';

/** A listening service. */
export interface RunningServer {
  readonly host: string;
  /** The real port, also when the system chose it. */
  readonly port: number;
  /**
   * Takes no new connections and waits for the requests in progress, at most `timeoutMs`.
   *
   * @returns whether everything has ended
   */
  drain(timeoutMs: number): Promise<boolean>;
  /** Cuts every connection that is left. */
  cut(): void;
}

/** Longer than a client keeps a connection for its next request, so that it is never us who close it under a request. */
const keepAliveMs = 75_000;

/** Between two looks for connections that have become idle while the server drains. */
const sweepMs = 50;

export interface ServerTimeouts {
  /** For a whole request, body included: many large pictures over a slow line are minutes. */
  readonly requestMs: number;
  readonly headersMs: number;
  readonly body: BodyPace;
  /** Between two looks for requests that take longer. */
  readonly lookMs: number;
}

/** The contract lets `/fit_ok` take longer than anything else; a client that sends nothing is cut long before. */
const defaultTimeouts: ServerTimeouts = {
  requestMs: 15 * 60_000,
  headersMs: 20_000,
  body: { graceMs: 30_000, bytesPerS: 1024 },
  lookMs: 5_000,
};

/** Listens. @throws Node's error when the address is taken or not ours */
export async function listen(
  config: Pick<Config, 'host' | 'port' | 'maxBodyBytes' | 'queueLimit' | 'corsOrigins' | 'apiKeys'>,
  service: Service,
  log: Logger,
  timeouts: ServerTimeouts = defaultTimeouts,
): Promise<RunningServer> {
  const app = createApp({ service, config, log });
  const server = createServer(
    {
      keepAliveTimeout: keepAliveMs,
      requestTimeout: timeouts.requestMs,
      headersTimeout: timeouts.headersMs,
      connectionsCheckingInterval: timeouts.lookMs,
      // Node's own refusal has no body.
      requireHostHeader: false,
    },
    getRequestListener(
      (request, env) =>
        lacksHost(env.incoming)
          ? answerWithoutApp(new RequestError('there is no Host header'), log)
          : app.fetch(request, env),
      {
        hostname: config.host,
        // The adapter would cut a connection half a second after an early answer such as 413; Node reads the rest of the
        // body and drops it, so that the client gets to read the answer.
        autoCleanupIncoming: false,
        errorHandler: (error) => answerWithoutApp(error, log),
      },
    ),
  );
  answerConnectionErrors(server, log);
  endSlowBodies(server, timeouts.body, timeouts.lookMs);
  // Node would refuse what a request expects beyond 100-continue with an empty 417; it may as well be passed over (RFC 9110).
  server.on('checkExpectation', (request, response) => server.emit('request', request, response));
  const silent = silentConnections(server);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(config.port, config.host, () => {
      server.off('error', reject);
      // A connection that could not be accepted, for lack of file handles say, is no reason to end.
      server.on('error', (error) => log.error({ err: error }, 'a connection could not be accepted'));
      resolve();
    });
  });
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : config.port;

  return {
    host: config.host,
    port,
    drain: async (timeoutMs) => {
      const closed = new Promise<true>((resolve) => {
        if (server.listening) server.close(() => resolve(true));
        else server.once('close', () => resolve(true));
      });
      // A connection whose last answer has left is kept for the client's next request, which is not to come any more. One
      // that a client has opened in advance is not idle to Node (20.20): it waits for its headers.
      const closeIdle = () => {
        server.closeIdleConnections();
        for (const socket of silent()) socket.destroy();
      };
      closeIdle();
      const sweep = setInterval(closeIdle, sweepMs);
      const timeout = new Promise<false>((resolve) => setTimeout(() => resolve(false), timeoutMs).unref());
      return await Promise.race([closed, timeout]).finally(() => clearInterval(sweep));
    },
    cut: () => server.closeAllConnections(),
  };
}

/** HTTP/1.0, as some health checks speak it, needs none. */
function lacksHost({ headers, httpVersion }: IncomingMessage | Http2ServerRequest): boolean {
  return headers.host === undefined && httpVersion === '1.1';
}

/** The open connections that nothing has come over yet. */
function silentConnections(server: Server): () => readonly Socket[] {
  const open = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  return () => [...open].filter(({ bytesRead }) => bytesRead === 0);
}
