import { useEffect, useState } from 'preact/hooks';
import { problemText } from '../i18n';

/** What was asked of the centre: nothing yet, the answer, or why there is none. */
export interface Loaded<T> {
  value?: T;
  error?: string;
}

/** Asks whenever one of `inputs` changes; only the answer to the last question counts. */
export function useLoaded<T>(ask: () => Promise<T>, inputs: readonly unknown[]): Loaded<T> {
  const [loaded, setLoaded] = useState<Loaded<T>>({});
  useEffect(() => {
    let current = true;
    setLoaded({});
    const answer = ask()
      .then((value): Loaded<T> => ({ value }))
      .catch((problem: unknown): Loaded<T> => ({ error: problemText(problem) }));
    void answer.then((now) => current && setLoaded(now));
    return () => {
      current = false;
    };
  }, inputs);
  return loaded;
}
