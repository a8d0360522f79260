import { useEffect, useState } from 'preact/hooks';

/** Whether the page can be seen: one that is hidden asks for nothing by itself. */
export function useSeen(): boolean {
  const [seen, setSeen] = useState(!document.hidden);
  useEffect(() => {
    const change = () => setSeen(!document.hidden);
    change();
    document.addEventListener('visibilitychange', change);
    return () => document.removeEventListener('visibilitychange', change);
  }, []);
  return seen;
}
