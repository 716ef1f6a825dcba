/// <reference types="vitest/config" />
import { fileURLToPath } from 'node:url'
import preact from '@preact/preset-vite'
import { defineConfig } from 'vite'

// A running server for `npm run dev`; the built site is served by lightwell itself.
const server = process.env['LIGHTWELL_URL'] ?? 'http://127.0.0.1:8085'

export default defineConfig({
  base: '/console/',
  plugins: [preact({ devToolsEnabled: false, prefreshEnabled: false })],
  resolve: {
    alias: [
      // What vtk.js writes XML with extends a class of Node's; this package is that class for browsers.
      { find: /^events$/, replacement: 'events/' },
      { find: /.*\/registerComputeWorker\.js$/, replacement: fileURLToPath(new URL('src/viewer/volume/noComputeWorker.ts', import.meta.url)) }
    ]
  },
  worker: { format: 'es' },
  build: {
    target: 'es2022',
    outDir: '../src/lightwell/web/console/site',
    emptyOutDir: true,
    sourcemap: false,
    // Nothing is put into the page or a style sheet as data: the policy of the page allows neither.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 4000
  },
  server: {
    proxy: Object.fromEntries(
      ['^/$', '/console/api', '/datastore', '/datastores', '/copyImageSet', '/startDICOMImportJob', '/getDICOMImportJob', '/listDICOMImportJobs', '/cancelDICOMImportJob', '/tags', '/metrics', '/readyz', '/version', '/ohif']
        .map((path) => [path, { target: server }])
    )
  },
  test: { environment: 'node', include: ['src/**/*.test.ts'], testTimeout: 60_000 }
})
