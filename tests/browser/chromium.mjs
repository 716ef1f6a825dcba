// Debian's Chromium, for all tests: WebGL in software, and nothing that asks for a network.

import { chromium } from 'playwright-core'

/** Start it; `more` are further arguments of its command line. */
export function launched(...more) {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--use-angle=swiftshader',
      '--enable-unsafe-swiftshader',
      ...more
    ]
  })
}
