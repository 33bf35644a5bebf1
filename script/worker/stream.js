// The streams of a message: what scripts pipe elsewhere, or listen to.
(function (EventEmitter, immediately) {
  'use strict'

  // Source gives octets piece after piece; null: there are no more.
  class MessageStream extends EventEmitter {
    constructor(open) {
      super()
      this.open = open
      this.readable = true
      this.paused = false
      this.flowing = false
      this.encoding = null
    }

    on(event, listener) {
      super.on(event, listener)
      if (event === 'data' && !this.flowing) this.flow({})
      return this
    }

    setEncoding(encoding) {
      this.encoding = encoding
      return this
    }

    pause() {
      this.paused = true
      return this
    }

    resume() {
      this.paused = false
      if (this.go) immediately(this.go)
      return this
    }

    destroy() {
      this.readable = false
      this.go = null
    }

    // flow emits what there is, in pieces, until somebody pauses.
    flow(options, done) {
      this.flowing = true
      let read
      const step = () => {
        if (this.paused || !this.readable) return
        try {
          if (!read) read = this.open(options)
          const piece = read()
          if (piece === null) {
            this.go = null
            this.flowing = false
            this.emit('end')
            this.emit('close')
            if (done) done()
            return
          }
          this.emit('data', this.encoding ? piece.toString(this.encoding) : piece)
        } catch (err) {
          this.go = null
          this.flowing = false
          if (this.listenerCount('error') === 0) throw err
          this.emit('error', err)
          return
        }
        immediately(step)
      }
      this.go = step
      immediately(step)
    }

    pipe(to, options) {
      const given = Object.assign({ end: true }, options)
      super.on('data', (piece) => {
        if (to.write(piece) === false) {
          this.pause()
          to.once('drain', () => this.resume())
        }
      })
      super.on('end', () => {
        if (given.end && typeof to.end === 'function') to.end()
      })
      if (!this.flowing) this.flow(given)
      return to
    }

    // get_data hands over all of it at once.
    get_data(options, callback) {
      if (typeof options === 'function') [options, callback] = [{}, options]
      const read = this.open(Object.assign({ dot_stuffed: false }, options))
      const pieces = []
      for (let piece = read(); piece !== null; piece = read()) pieces.push(piece)
      const all = Buffer.concat(pieces)
      immediately(() => callback(all))
    }
  }

  return MessageStream
})
