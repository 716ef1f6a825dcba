// Configuration of OHIF as lightwell serves it, below /ohif/ on the origin of the data.
//
// The token of `lightwell token` comes in the fragment of the address (#token=…), which browsers do not send and
// servers therefore do not log. It is kept for this tab alone, and it says itself which data store it opens.
(() => {
  'use strict'

  const KEY = 'lightwell-token'
  const HOW = 'lightwell token --datastore NAME --link'

  const read = (token) => {
    try {
      const part = token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/')
      const claims = JSON.parse(atob(part))
      const datastore = /:datastore\/([0-9a-z]{32})$/.exec(claims.aud)[1]
      return { datastore, expires: claims.exp * 1000, scopes: claims.scope.split(' ') }
    } catch {
      return null
    }
  }

  const kept = () => sessionStorage.getItem(KEY) ?? ''
  const isCurrent = (claims) => claims !== null && claims.expires > Date.now()

  const given = /[#&]token=([A-Za-z0-9._-]+)/.exec(location.hash)
  if (given) {
    if (read(given[1])) sessionStorage.setItem(KEY, given[1])
    history.replaceState(history.state, '', location.pathname + location.search)
  }
  // Another link opened in a tab that has OHIF already changes only the fragment.
  addEventListener('hashchange', () => {
    if (location.hash.includes('token=')) location.reload()
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
    const code = 'font:14px monospace;background:#000;padding:6px 8px;margin:8px 0;display:inline-block'
    say('p', 'Whoever runs the server makes a new link with this command. Open it, or paste it here:')
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
    const now = read(kept())
    if (!isCurrent(now)) return ask('Your access to these images has expired.')
    const answer = await fetch(`${location.origin}/datastore/${now.datastore}/studies?limit=1`, {
      headers: { Authorization: `Bearer ${kept()}`, Accept: 'application/dicom+json' },
    })
    if ([401, 403, 404, 424].includes(answer.status)) ask('Your access to these images has been withdrawn.')
  }
  if (!given) addEventListener('load', check)

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
