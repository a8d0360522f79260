/** Whether bytes cost the person something, as far as the browser says (Network Information API). */

interface Connection {
  saveData?: boolean;
  type?: string;
}

export function isMetered(): boolean {
  const { connection } = navigator as Navigator & { connection?: Connection };
  return connection?.saveData === true || connection?.type === 'cellular';
}
