/** The client's own key, kept in IndexedDB: play tokens are bound to it. */

import { generate, type KeyPair } from './ed25519';

const DATABASE = 'sightline';
const STORE = 'keys';
const NAME = 'client-key-1';

let loaded: Promise<KeyPair> | undefined;

/** This browser's key; made on the first call. */
export function clientKey(): Promise<KeyPair> {
  loaded ??= loadOrMake().catch((error: unknown) => {
    loaded = undefined;
    throw error;
  });
  return loaded;
}

async function loadOrMake(): Promise<KeyPair> {
  let database: IDBDatabase;
  try {
    database = await open();
  } catch {
    // Private windows of some browsers have no IndexedDB: the key then lives as long as the page.
    return generate();
  }
  const kept = (await run(database, 'readonly', (s) => s.get(NAME))) as KeyPair | undefined;
  if (kept) return kept;
  const made = await generate();
  // Another tab may have been faster: `add` fails then, and its key wins.
  try {
    await run(database, 'readwrite', (s) => s.add(made, NAME));
    return made;
  } catch {
    const other = (await run(database, 'readonly', (s) => s.get(NAME))) as KeyPair | undefined;
    return other ?? made;
  }
}

function open(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(new Error(request.error?.message ?? 'IndexedDB'));
  });
}

function run(
  database: IDBDatabase,
  mode: IDBTransactionMode,
  work: (store: IDBObjectStore) => IDBRequest,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(STORE, mode);
    const request = work(transaction.objectStore(STORE));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = () => reject(new Error(transaction.error?.message ?? 'IndexedDB'));
  });
}
