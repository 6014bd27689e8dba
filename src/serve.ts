import { type Logger, pino } from 'pino';
import { loadConfig } from './config.ts';
import { InspectionError } from './errors.ts';
import { isLoopback } from './http/callers.ts';
import { listen } from './http/server.ts';
import { createService, type Service, staleTempMs } from './service.ts';

/** Time for the last answers to leave after work was abandoned. */
const farewellMs = 1000;

/**
 * The process: configuration → service → listen → (signal) drain → close.
 *
 * SIGTERM and SIGINT stop taking requests, finish those in progress for at most BDI_SHUTDOWN_TIMEOUT_S, abandon the
 * rest (a fit leaves the old model in place) and end with exit code 0; jobs are interrupted at once. A second signal ends
 * at once. A configuration that cannot be used ends with 78 (EX_CONFIG) and the whole list, an address in use with 1.
 */
export async function runServer(overrides: Readonly<Record<string, string>> = {}): Promise<void> {
  const config = loadOrExit(overrides);
  const log = pino({ level: config.logLevel, base: { service: 'okng' } });
  try {
    const service = await createService(config, (message, details) => log.warn(details, message));
    await beginAudit(service, log);
    await restoreJobs(service, log);
    const server = await listen(config, service, log);
    const shown = server.host.includes(':') ? `[${server.host}]` : server.host;
    log.info(
      {
        address: `http://${shown}:${server.port}`,
        version: service.version,
        extractor: service.extractor.name,
        models_dir: config.modelsDir,
      },
      'listening',
    );
    if (config.apiKeys.length === 0 && !isLoopback(config.host))
      log.warn(
        { host: config.host },
        'whoever reaches this address may fit, read and delete: set BDI_API_KEYS, or listen on 127.0.0.1',
      );

    let stopping = false;
    const stop = async (signal: NodeJS.Signals) => {
      if (stopping) {
        log.warn({ signal }, 'second signal, ending at once');
        process.exit(130);
      }
      stopping = true;
      log.info({ signal, timeout_ms: config.shutdownTimeoutMs }, 'shutting down');
      // Nobody stands waiting for a job, so none is finished; it takes the end of a step.
      const jobsEnded = within(config.shutdownTimeoutMs, service.jobs.close());
      const drained = await server.drain(config.shutdownTimeoutMs);
      const clean = (await jobsEnded) && drained;
      // What is still running now is abandoned; its callers are told so before their connections go.
      await service.close();
      if (!clean) await server.drain(farewellMs);
      server.cut();
      log.info({ clean }, 'stopped');
      process.exit(0);
    };
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);

    keepSwept(service, log);

    if (!config.lightImport) {
      const started = performance.now();
      try {
        await service.warm();
        log.info({ ms: Math.round(performance.now() - started) }, 'ready');
      } catch (error) {
        log.error({ err: error }, 'not ready: the extractor could not be loaded');
      }
    }
  } catch (error) {
    log.fatal({ err: error }, error instanceof Error ? error.message : 'could not start');
    process.exit(error instanceof InspectionError ? 78 : 1);
  }
}

/** Without it nothing is answered, but the service is there to say so, and to begin it when the disk is mended. */
async function beginAudit(service: Service, log: Logger): Promise<void> {
  try {
    await service.beginAudit();
  } catch (error) {
    log.error({ err: error }, 'not ready: the audit could not be begun');
  }
}

/** Jobs that cannot be read are no reason not to serve. */
async function restoreJobs(service: Service, log: Logger): Promise<void> {
  try {
    await service.jobs.restore();
  } catch (error) {
    log.warn({ err: error }, 'the jobs of before could not be read');
  }
}

/** Whether it ended in time. */
async function within(ms: number, ending: Promise<void>): Promise<boolean> {
  const timeout = new Promise<false>((resolve) => setTimeout(() => resolve(false), ms).unref());
  return await Promise.race([ending.then(() => true), timeout]);
}

/**
 * Sweeps temp files of killed processes now and from then on. The first look leaves those of a process that was killed
 * just before this start; a later one finds them old enough. Failures are logged, nothing waits.
 */
export function keepSwept(service: Pick<Service, 'removeStaleTemps'>, log: Pick<Logger, 'info' | 'warn'>): void {
  const sweep = async () => {
    try {
      const removed = await service.removeStaleTemps();
      if (removed > 0) log.info({ removed }, 'removed temp files that killed processes left');
    } catch (error) {
      log.warn({ err: error }, 'could not look for temp files in the models folder');
    }
  };
  void sweep();
  setInterval(sweep, staleTempMs).unref();
}

function loadOrExit(overrides: Readonly<Record<string, string>>) {
  try {
    return loadConfig(undefined, overrides);
  } catch (error) {
    if (!(error instanceof InspectionError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(78);
  }
}
