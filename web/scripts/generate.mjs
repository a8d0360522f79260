// Writes src/api/schema.d.ts from docs/api/openapi.json; with --check only says whether it is up
// to date.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import openapiTS, { astToString } from 'openapi-typescript';

const root = join(import.meta.dirname, '..');
const source = join(root, '..', 'docs', 'api', 'openapi.json');
const target = join(root, 'src', 'api', 'schema.d.ts');
if (!existsSync(source)) {
  console.error(`${source} is missing: the CMU's tests write it`);
  process.exit(1);
}
const document = JSON.parse(readFileSync(source, 'utf8'));
const text =
  '// Generated from docs/api/openapi.json by `npm run generate`. Do not edit.\n\n' +
  astToString(await openapiTS(document, { alphabetize: true }));
const present = existsSync(target) ? readFileSync(target, 'utf8') : '';
if (!process.argv.includes('--check')) {
  writeFileSync(target, text);
} else if (present !== text) {
  console.error('src/api/schema.d.ts is out of date: run `npm run generate`');
  process.exit(1);
}
