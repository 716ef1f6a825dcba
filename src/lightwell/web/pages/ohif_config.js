// Configuration of OHIF as lightwell serves it, below /ohif/ on the origin of the data.
//
// A token comes in the fragment of the address (#token=…), which browsers do not send and servers therefore do not
// log: one of `lightwell token`, or one of the console, which stands for its session and is renewed for as long as
// that lasts. It is kept for this tab alone, and it says itself which data store it opens.
(() => {
  'use strict'

  const KEY = 'lightwell-token'
  const HOW = 'lightwell token --datastore NAME --link'
  const OF_CONSOLE = 'lightwell-viewer+jwt'
  // Of the console's tokens, which live for 15 minutes.
  const RENEWED_MS = 5 * 60_000

  const read = (token) => {
    try {
      const [header, claims] = token.split('.', 2).map((part) => JSON.parse(atob(part.replace(/-/g, '+').replace(/_/g, '/'))))
      const datastore = /:datastore\/([0-9a-z]{32})$/.exec(claims.aud)[1]
      const isOfConsole = header.typ === OF_CONSOLE
      return { datastore, expires: claims.exp * 1000, scopes: claims.scope.split(' '), isOfConsole }
    } catch {
      return null
    }
  }

  const kept = () => sessionStorage.getItem(KEY) ?? ''
  const isCurrent = (claims) => claims !== null && claims.expires > Date.now()

  const given = /[#&]token=([A-Za-z0-9._-]+)/.exec(location.hash)
  if (given) {
    if (read(given[1])) sessionStorage.setItem(KEY, given[1])
    // A study is named in the fragment, too, so that it is in no request for a page.
    const study = /[#&]study=([0-9.]{1,64})(?:&|$)/.exec(location.hash)
    const page = study ? `/ohif/viewer?StudyInstanceUIDs=${study[1]}` : location.pathname + location.search
    history.replaceState(history.state, '', page)
  }
  // Another link opened in a tab that has OHIF already changes only the fragment.
  addEventListener('hashchange', () => {
    if (location.hash.includes('token=')) location.reload()
  })

  // Another token in place of the console's: of the server while the old one is good, else of the console itself,
  // if the tab that opened this one still has it.
  let renewing = null
  const renew = () => {
    renewing ??= renewed().finally(() => {
      renewing = null
    })
    return renewing
  }
  const renewed = async () => {
    const now = read(kept())
    if (!now?.isOfConsole) return false
    if (isCurrent(now)) {
      const address = `${location.origin}/console/api/datastores/${now.datastore}/viewer-token/renewal`
      const headers = { Authorization: `Bearer ${kept()}`, 'Content-Type': 'application/json' }
      try {
        const answer = await fetch(address, { method: 'POST', headers, body: '{}' })
        if (answer.ok) {
          sessionStorage.setItem(KEY, (await answer.json()).token)
          return true
        }
      } catch {
        return true // The server is away, which another token would not change.
      }
    }
    return ofOpener(now.datastore)
  }
  const ofOpener = (datastore) =>
    new Promise((resolve) => {
      if (!window.opener) return resolve(false)
      const answered = (event) => {
        const token = event.data?.type === 'lightwell-token' ? event.data.token : ''
        const found = event.origin === location.origin ? read(String(token)) : null
        if (found?.datastore !== datastore || !isCurrent(found)) return
        sessionStorage.setItem(KEY, token)
        finish(true)
      }
      const finish = (result) => {
        clearTimeout(timer)
        removeEventListener('message', answered)
        resolve(result)
      }
      const timer = setTimeout(() => finish(false), 4000)
      addEventListener('message', answered)
      window.opener.postMessage({ type: 'lightwell-token-wanted', datastore }, location.origin)
    })

  // Ask for another token, without losing what is on the screen. A modal dialog is usable above those of OHIF, too.
  const ask = (reason) => {
    if (document.getElementById('lightwell-sign-in')) return
    const dialog = document.createElement('dialog')
    dialog.id = 'lightwell-sign-in'
    dialog.style.cssText =
      'margin:10vh auto;padding:24px 32px;max-width:48em;border:1px solid #5acce6;border-radius:8px;' +
      'background:#0b1a30;color:#fff;font:16px/1.5 system-ui,sans-serif;pointer-events:auto'
    const form = dialog.appendChild(document.createElement('form'))
    const say = (tag, text) => form.appendChild(Object.assign(document.createElement(tag), { textContent: text }))
    say('p', reason)
    const back = say('p', '').appendChild(Object.assign(document.createElement('a'), { href: '/console/' }))
    back.textContent = 'Open the images again in the console'
    back.style.cssText = 'color:#5acce6;text-decoration:underline'
    const code = 'font:14px monospace;background:#000;padding:6px 8px;margin:8px 0;display:inline-block'
    say('p', 'Or whoever runs the server makes a new link with this command. Open it, or paste it here:')
    say('code', HOW).style.cssText = code
    const field = form.appendChild(document.createElement('input'))
    field.setAttribute('aria-label', 'link or token')
    field.autocomplete = 'off'
    field.style.cssText = 'display:block;width:100%;box-sizing:border-box;padding:6px 8px;margin:8px 0;color:#000;background:#fff'
    const button = say('button', 'Continue')
    button.style.cssText = 'padding:6px 16px;color:#000;background:#fff;border-radius:4px'
    form.addEventListener('submit', (event) => {
      event.preventDefault()
      const token = field.value.trim().replace(/^.*[#&]token=/, '')
      const before = read(kept()), after = read(token)
      if (!isCurrent(after)) {
        field.value = ''
        field.placeholder = 'That is no token, or it has expired'
        return
      }
      sessionStorage.setItem(KEY, token)
      dialog.remove()
      // The study list would go on showing what it could not load; elsewhere there may be measurements to keep.
      const isList = location.pathname === '/ohif/'
      if (isList || !window.config || before?.datastore !== after.datastore) location.reload()
    })
    document.body.appendChild(dialog)
    dialog.showModal()
    field.focus()
  }

  const claims = read(kept())
  if (!isCurrent(claims)) {
    // Nothing of the viewer is loaded, since it could show nothing.
    window.stop()
    document.documentElement.innerHTML =
      '<head><title>OHIF Viewer</title></head><body style="margin:0;background:#000"></body>'
    document.documentElement.style.background = '#000'
    ask(claims ? 'Your access to these images has expired.' : 'To see images here you need a link with a token.')
    return
  }

  // A refused request may have other reasons than the token: ask the server about the token itself.
  let checked = 0
  const check = async () => {
    if (Date.now() - checked < 5000) return
    checked = Date.now()
    if (!isCurrent(read(kept()))) await renew()
    const now = read(kept())
    if (!isCurrent(now)) return ask('Your access to these images has expired.')
    const answer = await fetch(`${location.origin}/datastore/${now.datastore}/studies?limit=1`, {
      headers: { Authorization: `Bearer ${kept()}`, Accept: 'application/dicom+json' },
    })
    if ([401, 403, 404, 424].includes(answer.status)) ask('Your access to these images has been withdrawn.')
  }
  if (!given) addEventListener('load', check)

  const keep = async () => {
    const now = read(kept())
    if (!now?.isOfConsole || now.expires - Date.now() > RENEWED_MS || (await renew())) return
    if (!isCurrent(read(kept()))) ask('Your access to these images has expired.')
  }
  if (claims.isOfConsole) {
    setInterval(keep, 30_000)
    // Timers rest while a computer does.
    document.addEventListener('visibilitychange', keep)
  }

  const root = `${location.origin}/datastore/${claims.datastore}`
  window.config = {
    name: 'lightwell',
    routerBasename: '/ohif/',
    showStudyList: true,
    showLoadingIndicator: true,
    showErrorDetails: 'always',
    modes: [],
    extensions: [
      {
        id: 'lightwell.sign-in',
        preRegistration: ({ servicesManager }) => {
          servicesManager.services.userAuthenticationService.setServiceImplementation({
            getAuthorizationHeader: () => ({ Authorization: `Bearer ${kept()}` }),
          })
        },
      },
    ],
    customizationService: {},
    maxNumberOfWebWorkers: 3,
    maxNumRequests: { interaction: 100, thumbnail: 5, prefetch: 25 },
    httpErrorHandler: (error) => {
      if (error.status === 401 || error.status === 403) check()
    },
    defaultDataSourceName: 'lightwell',
    dataSources: [
      {
        namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
        sourceName: 'lightwell',
        configuration: {
          friendlyName: 'lightwell',
          name: 'lightwell',
          qidoRoot: root,
          wadoRoot: root,
          wadoUriRoot: root,
          imageRendering: 'wadors',
          thumbnailRendering: 'thumbnail',
          enableStudyLazyLoad: true,
          qidoSupportsIncludeField: true,
          supportsFuzzyMatching: true,
          supportsWildcard: true,
          bulkDataURI: { enabled: true, relativeResolution: 'studies' },
          dicomUploadEnabled: claims.scopes.includes('store'),
        },
      },
    ],
  }
})()
