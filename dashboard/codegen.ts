// Types of every operation in src/operations, from the schema that the API exports: ../schema.graphql.
// A field that the schema does not have, or an argument of the wrong type, ends the build with its name and line.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'

import { codegen } from '@graphql-codegen/core'
import * as documentNode from '@graphql-codegen/typed-document-node'
import * as operationTypes from '@graphql-codegen/typescript-operations'
import { buildSchema, parse, printSchema, Source } from 'graphql'

const here = new URL('./', import.meta.url)
const OPERATIONS = new URL('src/operations/', here)
const WRITTEN = new URL('src/api/operations.ts', here)

const schema = buildSchema(readFileSync(new URL('../schema.graphql', here), 'utf8'))
const documents = readdirSync(OPERATIONS)
  .filter((name) => name.endsWith('.graphql'))
  .sort()
  .map((name) => ({
    location: name,
    document: parse(new Source(readFileSync(new URL(name, OPERATIONS), 'utf8'), name)),
  }))

const source = await codegen({
  filename: 'operations.ts',
  schema: parse(printSchema(schema)),
  schemaAst: schema,
  documents,
  plugins: [{ operationTypes: {} }, { documentNode: {} }],
  pluginMap: { operationTypes, documentNode },
  config: {
    // As text: a page that had to print documents would carry graphql-js with it.
    documentMode: 'string',
    scalars: { ID: 'string', DateTime: 'string', Sequence: 'string' },
    enumsAsTypes: true,
    useTypeImports: true,
    skipTypename: true,
    avoidOptionals: { field: true, inputValue: false },
    dedupeFragments: true,
  },
})
const written = `// Written by codegen.ts.\n${source}`
// Left alone where it is the same: it lies among the sources, and a newer one would have `uv run` build the pages anew.
if (!existsSync(WRITTEN) || readFileSync(WRITTEN, 'utf8') !== written) writeFileSync(WRITTEN, written)
