// Documents of a series, one at a time: which of them, and what all of them have around them.

import type { ComponentChildren } from 'preact'
import { useState } from 'preact/hooks'
import { ChevronLeft, ChevronRight } from 'lucide-preact'
import type { Instance } from '../model/document'
import { IconButton } from '../../ui/Button'
import { dicomDate, dicomTime, personName } from '../../ui/format'
import './documents.css'

export function Pages({ instances, tools, children }: { instances: readonly Instance[]; tools?: ComponentChildren; children: (instance: Instance) => ComponentChildren }) {
  const [at, setAt] = useState(0)
  const instance = instances[Math.min(at, instances.length - 1)]
  if (instance === undefined) return null
  const { attributes } = instance
  return (
    <div class="document">
      <header class="document-header">
        <div class="grow">
          <strong>{personName(attributes.text('PatientName')) || 'No name'}</strong>{' '}
          <span class="soft">
            {[attributes.text('PatientID'), dicomDate(attributes.text('ContentDate') || attributes.text('StudyDate')), dicomTime(attributes.text('ContentTime'))].filter(Boolean).join(' · ')}
          </span>
        </div>
        {tools}
        {instances.length > 1 && (
          <div class="row">
            <IconButton label="Previous document" disabled={at === 0} onClick={() => setAt(at - 1)}><ChevronLeft /></IconButton>
            <span class="number">{at + 1} / {instances.length}</span>
            <IconButton label="Next document" disabled={at >= instances.length - 1} onClick={() => setAt(at + 1)}><ChevronRight /></IconButton>
          </div>
        )}
      </header>
      {children(instance)}
    </div>
  )
}
