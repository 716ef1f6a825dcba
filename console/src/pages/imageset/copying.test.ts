import { expect, it } from 'vitest'
import { whyNotCopied } from './copying'

it('says why a copy failed in the words of the console, and passes on what it does not know', () => {
  expect(whyNotCopied('INVALID_REQUEST:  SOPInstanceUID 1.2.3 of SourceImageSet is in DestinationImageSet already.')).toContain('has these instances already')
  expect(whyNotCopied("INVALID_REQUEST:  Patient of SourceImageSet and DestinationImageSet don't match.")).toContain('about the patient differs')
  expect(whyNotCopied('INVALID_REQUEST:  The quota is reached.')).toBe('The quota is reached.')
  expect(whyNotCopied('Out of space.')).toBe('Out of space.')
  expect(whyNotCopied(undefined)).toBe('The copy failed.')
})
