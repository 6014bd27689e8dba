import { type OnnxSession, openSession } from '../onnx/onnx_session.ts';

/** Open sessions of one graph by their number of threads. It knows nothing of a bank, so all banks of a thread use the same. */
export interface SharedSessions {
  /** @param threads of one run, ≥ 1 */
  borrow(threads: number): Promise<OnnxSession>;
  /** The last one to give it back closes it. */
  giveBack(threads: number): Promise<void>;
}

interface SharedSession {
  readonly session: Promise<OnnxSession>;
  borrowers: number;
}

export function sharedSessions(graph: () => Uint8Array): SharedSessions {
  const sessions = new Map<number, SharedSession>();
  return {
    borrow: async (threads) => {
      const shared = sessions.get(threads) ?? { session: openSession(graph(), { threads }), borrowers: 0 };
      sessions.set(threads, shared);
      shared.borrowers++;
      try {
        return await shared.session;
      } catch (error) {
        // The next bank tries again.
        sessions.delete(threads);
        throw error;
      }
    },
    giveBack: async (threads) => {
      const shared = sessions.get(threads);
      if (shared === undefined) return;
      shared.borrowers--;
      if (shared.borrowers > 0) return;
      sessions.delete(threads);
      await (await shared.session).dispose();
    },
  };
}
