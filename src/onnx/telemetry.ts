/**
 * Keeps ONNX Runtime from reporting home: its published builds (1.24 and later, also on Linux and macOS) collect usage
 * data, write `.ses` and `mat-debug` files into the temp folder and send to its maker, unless this is set before the
 * library is loaded. Plants are offline, and what they inspect is nobody's business.
 *
 * Must run in the process' main thread: what a worker thread writes into `process.env` does not reach native code.
 */
export function keepRuntimeSilent(): void {
  process.env.ORT_DISABLE_TELEMETRY = '1';
}
