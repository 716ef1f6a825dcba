// What a viewport of the viewer shows: the decoded samples, the canvas, and where each pixel of the image is on it.

export class Viewport {
  constructor(visit, number = 1) {
    this.visit = visit
    this.element = visit.page.getByRole('region', { name: `Viewport ${number}` }).getByTestId('viewport')
  }

  /** Wait until an image is shown in full: the one at this place, from 0, if one is named. */
  async shows(index) {
    const place = index === undefined ? '' : `[data-index="${index}"]`
    await this.element.and(this.visit.page.locator(`[data-state="full"]${place}`)).waitFor()
    return this
  }

  async length() {
    return this.element.evaluate((element) => element.viewport.getImageIds().length)
  }

  /** Text at the corner, such as "12 / 28". */
  async position() {
    return this.visit.page.getByTestId('position').first().innerText()
  }

  /**
   * What is shown at this moment: `samples` and `png` in Base64; `corner`, `right`, `down`: where on the canvas, in its
   * pixels, the pixel of the image at (0, 0) begins, and those right of and below it.
   */
  async seen() {
    await this.element.evaluate((element) => element.viewport.setSmooth(false))
    await this.visit.page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))))
    return this.element.evaluate((element) => {
      const base64 = (bytes) => {
        let text = ''
        for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000))
        return btoa(text)
      }
      const { viewport } = element
      const { data, ...image } = viewport.getImage()
      const point = (x, y) => {
        const found = viewport.imageToCanvas({ x, y })
        return [found.x * devicePixelRatio, found.y * devicePixelRatio]
      }
      return {
        ...image,
        type: data.constructor.name,
        data: base64(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
        png: viewport.getCanvas().toDataURL('image/png').split(',')[1],
        corner: point(0, 0),
        right: point(1, 0),
        down: point(0, 1),
        ...viewport.getProperties()
      }
    })
  }

  /** Drag by so many pixels with the left button, from the middle. */
  async drag(dx, dy) {
    const { x, y, width, height } = await this.element.boundingBox()
    const { mouse } = this.visit.page
    await mouse.move(x + width / 2, y + height / 2)
    await mouse.down()
    await mouse.move(x + width / 2 + dx / 2, y + height / 2 + dy / 2)
    await mouse.move(x + width / 2 + dx, y + height / 2 + dy)
    await mouse.up()
  }

  async wheel(by) {
    const { x, y, width, height } = await this.element.boundingBox()
    await this.visit.page.mouse.move(x + width / 2, y + height / 2)
    await this.visit.page.mouse.wheel(0, by)
  }
}
