import type { ComponentChildren } from 'preact';
import { t } from '../i18n';

interface TableProps<T> {
  label: string;
  testid: string;
  heads: string[];
  /** What is said when there are no rows. */
  empty: string;
  /** `undefined` as long as they are not there yet. */
  rows: T[] | undefined;
  row: (row: T) => ComponentChildren;
}

/** A table whose rows become cards where there is no room for columns. */
export function Table<T>({ label, testid, heads, empty, rows, row }: TableProps<T>) {
  if (!rows) return <span class="spinner" aria-label={t('app.loading')} />;
  if (rows.length === 0) return <p data-testid={`${testid}-empty`}>{empty}</p>;
  return (
    <div class="table-scroll" role="region" aria-label={label} tabIndex={0}>
      <table class="stacking" data-testid={testid}>
        <thead>
          <tr>
            {heads.map((head) => (
              <th key={head} scope="col">
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{rows.map(row)}</tbody>
      </table>
    </div>
  );
}

interface CellProps {
  /** The column's head, shown beside the value in a card. */
  head: string;
  kind: 'key' | 'number' | 'words';
  children: ComponentChildren;
}

export function Cell({ head, kind, children }: CellProps) {
  return (
    <td class={kind} data-head={head}>
      <span>{children}</span>
    </td>
  );
}
