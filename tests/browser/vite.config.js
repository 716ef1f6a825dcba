import { defineConfig } from 'vite'

export default defineConfig({
  build: { target: 'esnext', minify: false, chunkSizeWarningLimit: 100000 },
  // What vtk.js writes XML with extends a class of Node's; this package is that class for browsers.
  resolve: { alias: { events: 'events/' } },
  worker: { format: 'es' },
  logLevel: 'error'
})
