/* version.h: the library's version, major.minor.patch. */
#ifndef PTRAIN_VERSION_H
#define PTRAIN_VERSION_H

#define PTRAIN_VERSION "0.1.0"

#endif
