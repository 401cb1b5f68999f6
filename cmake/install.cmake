# What is installed with the program, and the Debian package.
#
#   cmake --preset release -B build/package -DBUILD_TESTING=OFF -DCMAKE_INSTALL_PREFIX=/usr
#   cmake --build build/package
#   cmake --install build/package        # or, from build/package: cpack -G DEB
#
# Names of folders are GNU's (CMAKE_INSTALL_MANDIR, …). Settings go to
# /etc/klaviyo-worker where the prefix is /usr, else below the prefix.
set(deploy ${PROJECT_SOURCE_DIR}/deploy)

# The program that writes deploy/settings.md.
if(BUILD_TESTING)
  add_executable(settings-reference ${deploy}/settings_reference.c)
  target_link_libraries(settings-reference PRIVATE settings)
endif()

set(settings_folder ${CMAKE_INSTALL_SYSCONFDIR})
if(CMAKE_INSTALL_PREFIX STREQUAL "/usr" AND NOT IS_ABSOLUTE "${CMAKE_INSTALL_SYSCONFDIR}")
  set(settings_folder /${CMAKE_INSTALL_SYSCONFDIR})
endif()
set(zsh_folder ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
if(CMAKE_INSTALL_PREFIX STREQUAL "/usr")
  set(zsh_folder ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions) # Debian's, for packages
endif()

# The units have the paths of a Debian package; here they get those of this prefix. The worker's waits
# to be told of readiness (Type=notify), so it goes with a program that tells it only.
if(WORKER_SYSTEMD)
  foreach(name klaviyo-worker.service klaviyo-worker-publish@.service klaviyo-worker-publish@.timer)
    file(READ ${deploy}/systemd/${name} unit)
    string(REPLACE /usr/bin/klaviyo-worker ${CMAKE_INSTALL_FULL_BINDIR}/klaviyo-worker unit "${unit}")
    string(REPLACE /etc/klaviyo-worker/ ${CMAKE_INSTALL_FULL_SYSCONFDIR}/klaviyo-worker/ unit "${unit}")
    file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/${name} CONTENT "${unit}")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${deploy}/systemd/${name})
    install(FILES ${PROJECT_BINARY_DIR}/${name} DESTINATION lib/systemd/system)
  endforeach()
endif()
install(FILES ${deploy}/systemd/klaviyo-worker.env DESTINATION ${settings_folder}/klaviyo-worker)
install(FILES ${deploy}/systemd/kafka.properties DESTINATION ${settings_folder}/klaviyo-worker
  PERMISSIONS OWNER_READ OWNER_WRITE)
install(FILES ${deploy}/man/klaviyo-worker.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${deploy}/completion/klaviyo-worker.bash
  DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME klaviyo-worker)
install(FILES ${deploy}/completion/_klaviyo-worker DESTINATION ${zsh_folder})
install(FILES ${deploy}/completion/klaviyo-worker.fish
  DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
file(GLOB guides CONFIGURE_DEPENDS ${deploy}/*.md)
install(FILES ${guides} ${PROJECT_SOURCE_DIR}/README.md ${deploy}/debian/copyright
  DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/schemas/events
  DESTINATION ${CMAKE_INSTALL_DATADIR}/klaviyo-worker/schemas)
install(FILES ${PROJECT_SOURCE_DIR}/schemas/asyncapi.yaml
  DESTINATION ${CMAKE_INSTALL_DATADIR}/klaviyo-worker/schemas)
install(DIRECTORY ${deploy}/alerts ${deploy}/dashboard ${deploy}/kubernetes
  DESTINATION ${CMAKE_INSTALL_DATADIR}/klaviyo-worker
  PATTERN make-rules PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE
    GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

# A package's paths are those of the prefix /usr: with another one there is none.
if(NOT CMAKE_INSTALL_PREFIX STREQUAL "/usr")
  return()
endif()
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_VENDOR klaviyo-worker)
set(PACKAGE_CONTACT "klaviyo-worker maintainers <maintainers@klaviyo-worker.example>" CACHE STRING
  "Who answers for the Debian package")
set(CPACK_PACKAGE_CONTACT ${PACKAGE_CONTACT})
set(CPACK_PACKAGE_DESCRIPTION "It takes segment-refresh events from Kafka, reads the members from PostgreSQL,
keeps one valid e-mail profile per address, and brings them to a Klaviyo list
with the bulk import API.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS ca-certificates)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  ${deploy}/debian/conffiles ${deploy}/debian/postinst ${deploy}/debian/prerm
  ${deploy}/debian/postrm)
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/cmake/package.cmake)
include(CPack)
