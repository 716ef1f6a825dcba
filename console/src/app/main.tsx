import { render } from 'preact'
import '../styles/base.css'
import { loadConfig } from '../api/consoleApi'
import { answerViewers } from '../session/ohif'
import { listenToTabs, restore } from '../session/session'
import { listenToLinks, takeLink } from '../session/signIn'
import { App, startError } from './App'
import { applyTheme } from './theme'

applyTheme()

// A part of the console that is gone: the server has a newer build, which the page begins with when it is loaded again.
window.addEventListener('vite:preloadError', (event) => {
  const build = import.meta.url
  if (sessionStorage.getItem('lightwell-reloaded') === build) return
  sessionStorage.setItem('lightwell-reloaded', build)
  event.preventDefault()
  location.reload()
})
answerViewers()
listenToTabs()
listenToLinks()

async function start(): Promise<void> {
  // Out of the address at once, before anything else happens.
  const link = takeLink()
  try {
    await loadConfig()
  } catch (error) {
    startError.value = error
  }
  if (link === null) await restore()
  const host = document.getElementById('app')
  if (host !== null) render(<App link={link} />, host)
}

void start()
