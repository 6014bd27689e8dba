import type { Server } from 'node:http';
import { serve } from '@hono/node-server';
import type { Logger } from 'pino';
import type { Config } from '../config.ts';
import type { Service } from '../service.ts';
import { createApp } from './app.ts';

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

/** Listens. @throws Node's error when the address is taken or not ours */
export async function listen(
  config: Pick<Config, 'host' | 'port' | 'maxBodyBytes' | 'queueLimit' | 'corsOrigins'>,
  service: Service,
  log: Logger,
): Promise<RunningServer> {
  const app = createApp({ service, config, log });
  const server = await new Promise<Server>((resolve, reject) => {
    const listening = serve(
      {
        fetch: app.fetch,
        hostname: config.host,
        port: config.port,
        // The adapter would cut a connection half a second after an early answer such as 413; Node reads the rest of the
        // body and drops it, so that the client gets to read the answer.
        autoCleanupIncoming: false,
        serverOptions: { keepAliveTimeout: keepAliveMs, requestTimeout: 120_000, headersTimeout: 20_000 },
      },
      () => resolve(listening as Server),
    );
    listening.once('error', reject);
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
      // A connection whose last answer has left is kept for the client's next request, which is not to come any more.
      server.closeIdleConnections();
      const sweep = setInterval(() => server.closeIdleConnections(), sweepMs);
      const timeout = new Promise<false>((resolve) => setTimeout(() => resolve(false), timeoutMs).unref());
      return await Promise.race([closed, timeout]).finally(() => clearInterval(sweep));
    },
    cut: () => server.closeAllConnections(),
  };
}
