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
      this.links = []
      this.run = null
    }

    // It flows when somebody listens for data; once comes here too.
    listened(event) {
      if (event === 'data' && !this.flowing) this.flow({})
      return this
    }

    on(event, listener) {
      super.on(event, listener)
      return this.listened(event)
    }

    addListener(event, listener) {
      return this.on(event, listener)
    }

    prependListener(event, listener) {
      super.prependListener(event, listener)
      return this.listened(event)
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
      if (this.go) this.go()
      return this
    }

    destroy() {
      this.readable = false
      this.go = null
    }

    // flow emits what there is, in pieces, until somebody pauses, or another run of it
    // has begun.
    flow(options) {
      const run = (this.run = {})
      let read
      let pending = false
      const step = () => {
        pending = false
        if (this.run !== run || this.paused || !this.readable) return
        try {
          if (!read) read = this.open(options)
          const piece = read()
          if (piece === null) {
            this.stop()
            this.emit('end')
            this.emit('close')
            return
          }
          this.emit('data', this.encoding ? piece.toString(this.encoding) : piece)
        } catch (err) {
          this.stop()
          if (this.listenerCount('error') === 0) throw err
          this.emit('error', err)
          return
        }
        this.go?.()
      }
      this.flowing = true
      this.go = () => {
        if (!pending) immediately(step)
        pending = true
      }
      this.go()
    }

    stop() {
      this.run = this.go = null
      this.flowing = false
    }

    pipe(to, options) {
      const given = Object.assign({ end: true }, options)
      const link = { to }
      link.data = (piece) => {
        if (to.write(piece) !== false || !this.links.includes(link)) return
        this.pause()
        to.once('drain', () => {
          if (this.links.includes(link)) this.resume()
        })
      }
      link.end = () => {
        this.unlink(link)
        if (given.end && typeof to.end === 'function') to.end()
      }
      this.links.push(link)
      super.on('data', link.data)
      super.on('end', link.end)
      if (!this.flowing) this.flow(given)
      return to
    }

    // unpipe gives nothing more to a stream; without one, to none of them.
    unpipe(to) {
      for (const link of [...this.links]) {
        if (!to || link.to === to) this.unlink(link)
      }
      if (this.flowing && this.listenerCount('data') === 0) {
        this.stop()
        this.paused = false
      }
      return this
    }

    unlink(link) {
      this.links = this.links.filter((l) => l !== link)
      this.removeListener('data', link.data)
      this.removeListener('end', link.end)
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
